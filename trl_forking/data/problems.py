"""Problems to train on: each has a prompt and an answer that the reward can compare with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..run.lengths import count_tokens
from ..run.user_errors import UserError
from .choice import choose_problems
from .report import describe_choice, raise_if_empty
from .rows import read_rows
from .templates import build_prompt


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PlacedPrompt:
    """
    A prompt, and the row that it is from.

    Attributes:
        place (`str`): file and number of the row, for messages.
        prompt (`str` or `list[dict]`): text, or chat of `role` and `content`.
        solution (`str` or `None`): the right answer, if it is known.
    """

    place: str
    prompt: str | list[dict[str, Any]]
    solution: str | None


def read_problems(
    name: str, config: str | None = None, split: str = "train", template: str = "chat"
) -> list[PlacedPrompt]:
    """
    Read problems, and print which rows are used and which are left out, see [`load_problems`].

    Args:
        name (`str`):
            Name of the data, as in [`~trl_forking.data.rows.read_rows`].
        config (`str`, *optional*):
            Configuration of the data set.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set.
        template (`str`, *optional*, defaults to `"chat"`):
            Prompt template, as in [`~trl_forking.data.templates.build_prompt`].

    Returns:
        `list[PlacedPrompt]`: the problems.

    Raises:
        [`UserError`]: as in [`load_problems`].

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.problems import read_problems
    >>> size = Path("problems.jsonl").write_text('{"question": "1 + 1?", "answer": 2}')
    >>> read_problems("problems.jsonl")[0].place
    problems.jsonl: 1 of 1 problems have an answer that math-verify can read
      The answer is from the column answer (1 row).
      Row 1: "1 + 1?" has the answer "2".
    'problems.jsonl, row 1'
    ```
    """
    from accelerate import PartialState

    choice = choose_problems(read_rows(name, config, split), name)
    raise_if_empty(choice)
    PartialState().print(
        describe_choice(choice) + _describe_chats([problem.question for problem in choice.problems], template)
    )
    return [
        PlacedPrompt(
            problem.row.place,
            build_prompt(problem.question, template),
            None if problem.gold is None else problem.gold.text,
        )
        for problem in choice.problems
    ]


def _describe_chats(questions: list[Any], template: str) -> str:
    """Describe chats that ask for another form of the answer, as those of DAPO-Math-17k: every reward would be 0."""
    chats = [question for question in questions if not isinstance(question, str)] if template == "chat" else []
    number = sum(not any("boxed" in message["content"] for message in chat) for chat in chats)
    if not number:
        return ""
    are = "prompt is a chat that does" if number == 1 else "prompts are chats that do"
    return f"\n  {number} {are} not ask for \\boxed{{}}, where the reward looks for the answer. Chats are not changed: add it."


def build_dataset(problems: Sequence[PlacedPrompt]) -> "Dataset":
    """
    Build the table that the trainer takes.

    Args:
        problems (`Sequence[PlacedPrompt]`):
            Problems with their answers.

    Returns:
        [`~datasets.Dataset`]: columns `prompt` and `solution` (`str`).

    Example:
    ```python
    >>> from trl_forking.data.problems import PlacedPrompt, build_dataset
    >>> build_dataset([PlacedPrompt("a.jsonl, row 1", "1 + 1?", "2")])[0]
    {'prompt': '1 + 1?', 'solution': '2'}
    ```
    """
    from datasets import Dataset

    return Dataset.from_list([{"prompt": problem.prompt, "solution": problem.solution} for problem in problems])


def load_problems(name: str, config: str | None = None, split: str = "train", template: str = "chat") -> "Dataset":
    r"""
    Load problems as the trainer takes them.

    The question is in a column `prompt`, `question` or `problem`, or in a chat in `conversations` or `messages`. The answer
    is in `answer`, `solution` or, as in DAPO-Math-17k, `reward_model` with its `ground_truth`, see
    [`~trl_forking.data.golds.find_gold`]. The function leaves out each row without a question, and each row whose answer
    the reward can't compare with, because every completion would get the reward 0 there. It prints which rows it used
    and which it left out, and why.

    Args:
        name (`str`):
            A file, a folder or a data set of the Hub, as in [`~trl_forking.data.rows.read_rows`].
        config (`str`, *optional*):
            Configuration of the data set.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set or of the folder.
        template (`str`, *optional*, defaults to `"chat"`):
            Prompt template, as in [`~trl_forking.data.templates.build_prompt`].

    Returns:
        [`~datasets.Dataset`]: columns `prompt` and `solution` (`str`).

    Raises:
        [`UserError`]: if the file does not exist or cannot be read, or no row has a question and an answer that can be
            compared with.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.problems import load_problems
    >>> size = Path("problems.jsonl").write_text('{"question": "1 + 1?", "answer": 2}')
    >>> load_problems("problems.jsonl", template="paper")["solution"][0]
    problems.jsonl: 1 of 1 problems have an answer that math-verify can read
      The answer is from the column answer (1 row).
      Row 1: "1 + 1?" has the answer "2".
    '2'
    ```
    """
    return build_dataset(read_problems(name, config, split, template))


def drop_long_prompts(
    dataset: "Dataset",
    tokenizer: "PreTrainedTokenizerBase",
    longest: int | None,
    template_arguments: dict[str, Any] | None = None,
) -> "Dataset":
    """
    Leave out the problems whose prompt is too long, and print how many are left.

    Args:
        dataset ([`~datasets.Dataset`]):
            Problems with a column `prompt`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        longest (`int`, *optional*):
            Largest number of tokens of a prompt; `None` keeps all problems.
        template_arguments (`dict`, *optional*):
            The field `chat_template_kwargs` of the config of the trainer.

    Returns:
        [`~datasets.Dataset`]: the problems that are left.

    Raises:
        [`UserError`]: if no problem is left.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_tokenizer, make_countdown_dataset
    >>> from trl_forking.data.problems import drop_long_prompts
    >>> dataset = make_countdown_dataset("train", num_problems=4, seed=0)
    >>> len(drop_long_prompts(dataset, load_countdown_tokenizer(), longest=7))
    4 of 4 prompts have at most 7 tokens
    4
    ```
    """
    if longest is None:
        return dataset
    return dataset.select(find_short_prompts(dataset["prompt"], tokenizer, longest, template_arguments))


def find_short_prompts(
    prompts: Sequence[Any], tokenizer: Any, longest: int, template_arguments: dict[str, Any] | None = None
) -> list[int]:
    """
    Find the prompts that are not too long, and print how many they are.

    Args:
        prompts (`Sequence`):
            Texts, or chats of `role` and `content`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        longest (`int`):
            Largest number of tokens of a prompt.
        template_arguments (`dict`, *optional*):
            The field `chat_template_kwargs` of the config of the trainer.

    Returns:
        `list[int]`: their positions.

    Raises:
        [`UserError`]: if every prompt is too long.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> from trl_forking.data.problems import find_short_prompts
    >>> find_short_prompts(["1 + 1", "1 + 1 + 1"], load_countdown_tokenizer(), longest=4)
    1 of 2 prompts have at most 4 tokens
    [0]
    ```
    """
    from accelerate import PartialState

    kept = [
        position
        for position, prompt in enumerate(prompts)
        if count_tokens(prompt, tokenizer, longest, template_arguments) <= longest
    ]
    if not kept:
        raise UserError(f"max_prompt_length is {longest}, but every prompt has more tokens: raise it.")
    PartialState().print(f"{len(kept)} of {len(prompts)} prompts have at most {longest} tokens")
    return kept
