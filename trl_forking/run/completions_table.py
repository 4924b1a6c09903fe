"""The columns that `log_entropy=True` adds to the table of logged completions, and that table for TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.logging import get_logger
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from ..writing.token_texts import TokenTexts
from .trainer_protocol import ForkingTrainer


logger = get_logger(__name__)

_NUM_ROWS = 8


class Summarized(list):
    """A list that trackers and parquet files get whole, and a terminal table as a few words."""

    def __init__(self, values: list, summary: str):
        super().__init__(values)
        self.summary = summary

    def __str__(self) -> str:
        return self.summary

    def __reduce__(self) -> tuple[Any, ...]:
        return Summarized, (list(self), self.summary)  # ranks send it to one another


def build_entropy_columns(
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    entropies: torch.Tensor,
    kept: torch.Tensor,
    tokenizer: Any,
) -> dict[str, list]:
    """
    Build the columns `marked`, the text of each answer, and `tokens` (text), `entropies` (nats), `kept` (flags), its lists.

    Args:
        completion_ids (`torch.Tensor` of shape `(B, T)`):
            Token ids.
        completion_mask (`torch.Tensor` of shape `(B, T)`):
            1 for tokens of the answer, 0 for padding.
        entropies (`torch.Tensor` of shape `(B, T)`):
            Entropies in nats.
        kept (`torch.Tensor` of shape `(B, T)`):
            Tokens that are trained.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer; the tokens of an answer join to what it decodes to.

    Returns:
        `dict[str, list]`: the answers with their kept tokens in brackets, and three columns of `B` lists, which show their
        kept tokens or a count where they are printed.

    Example:
    ```python
    >>> import torch
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> tokenizer = load_countdown_tokenizer()
    >>> ids = tokenizer("3 * 5", return_tensors="pt")["input_ids"]
    >>> entropies, kept = torch.tensor([[0.5, 1.5, 0.25]]), torch.tensor([[False, True, False]])
    >>> columns = build_entropy_columns(ids, torch.ones_like(ids), entropies, kept, tokenizer)
    >>> columns["tokens"] == [["3", " *", " 5"]], str(columns["tokens"][0]), str(columns["entropies"][0])
    (True, '*', 'mean 0.750')
    ```
    """
    # In this order: a tracker shows a list in full, so that what stands behind one is out of sight.
    columns: dict[str, list] = {"marked": [], "tokens": [], "entropies": [], "kept": []}
    texts = TokenTexts(tokenizer)
    for row, mask in enumerate(completion_mask.bool()):
        tokens = texts.split(completion_ids[row][mask].tolist())
        values, flags = entropies[row][mask].float().tolist(), kept[row][mask].tolist()
        forks = " ".join(token.strip() for token, flag in zip(tokens, flags, strict=True) if flag)
        columns["marked"].append(mark_kept(tokens, flags))
        columns["tokens"].append(Summarized(tokens, forks))
        columns["entropies"].append(Summarized(values, f"mean {sum(values) / max(len(values), 1):.3f}"))
        columns["kept"].append(Summarized(flags, f"{sum(flags)} of {len(flags)}"))
    return columns


def mark_kept(tokens: list[str], kept: list[bool]) -> str:
    """
    Write an answer with its kept tokens in brackets, for tables that show text only.

    Args:
        tokens (`list[str]`):
            Text that each token adds.
        kept (`list[bool]`):
            Whether it is trained.

    Returns:
        `str`: text.

    Example:
    ```python
    >>> mark_kept(["So", " it", " is"], [False, True, False])
    'So [it] is'
    ```
    """
    return "".join(_bracket(token) if is_kept else token for token, is_kept in zip(tokens, kept, strict=True))


def _bracket(token: str) -> str:
    text = token.strip()
    return token.replace(text, f"[{text}]", 1) if text else f"[{token!r}]"


class CompletionsWriter(TrainerCallback):
    """
    Writes the table of logged completions to TensorBoard, as text: TRL sends it to wandb and trackio only.

    At every logged step, with `log_completions=True`: up to eight answers, spread over the rollout batch.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Trainer that the callback is added to; [`ForkingGRPOTrainer`] adds it itself.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> trainer = SimpleNamespace(log_completions=False)
    >>> writer = CompletionsWriter(trainer)
    ```
    """

    def __init__(self, trainer: ForkingTrainer):
        self.trainer, self._written = trainer, (0, "")

    def on_log(self, args, state, control, **kwargs):
        trainer, step = self.trainer, state.global_step
        writers = find_event_writers(trainer)
        if not (writers and trainer.log_completions and trainer._logs["prompt"] and state.is_world_process_zero):
            return
        try:  # a full disk may not cost the run
            text = format_completions(trainer._logs)
            if (step, text) != self._written:  # the end of a run logs its times, after its last answers
                for writer in writers:
                    writer.add_text("completions", text, step)
            self._written = (step, text)
        except Exception as error:
            logger.warning(f"TensorBoard got no completions of step {step}: {error}")


def find_event_writers(trainer: ForkingTrainer) -> list[Any]:
    """
    Find what writes TensorBoard's event files for a trainer.

    Args:
        trainer ([`~transformers.Trainer`]):
            Trainer.

    Returns:
        `list`: the `SummaryWriter` of this process, or nothing where the run does not report to TensorBoard.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> find_event_writers(SimpleNamespace(callback_handler=SimpleNamespace(callbacks=[])))
    []
    ```
    """
    callbacks = [each for each in trainer.callback_handler.callbacks if isinstance(each, TensorBoardCallback)]
    return [callback.tb_writer for callback in callbacks if callback.tb_writer is not None]


def format_completions(logs: Mapping[str, Any]) -> str:
    """
    Write the table of logged completions as Markdown, marked answers in place of plain ones where it has them.

    Args:
        logs (`dict`):
            Columns as TRL's trainer keeps them: `prompt`, `completion`, `advantages`, and more in `rewards` and `extra`.

    Returns:
        `str`: a table of up to eight rows, spread over all.

    Example:
    ```python
    >>> logs = {"prompt": ["2 + 2 ="], "completion": ["4"], "rewards": {"is_right": [1.0]}, "advantages": [0.5]}
    >>> print(format_completions(logs | {"extra": {"marked": ["[4]"]}}))
    | prompt | is&#95;right | marked | advantage |
    |---|---|---|---|
    | 2 + 2 = | 1.000 | &#91;4&#93; | 0.500 |
    ```
    """
    columns = {"prompt": logs["prompt"], "completion": logs["completion"], **logs["rewards"], **logs["extra"]}
    columns["advantage"] = logs["advantages"]
    if "marked" in columns:
        del columns["completion"]
    rows = list(zip(*columns.values(), strict=True))
    # The first answers alone would all be to one prompt.
    return format_table(list(columns), rows[:: max(len(rows) // _NUM_ROWS, 1)][:_NUM_ROWS])


def format_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """
    Write a table as Markdown in which nothing that a model wrote is read as Markdown or HTML.

    Args:
        columns (sequence of `str`):
            Names.
        rows (sequence of sequences):
            Cells: text, numbers, conversations, or what has a text.

    Returns:
        `str`: table.

    Example:
    ```python
    >>> print(format_table(["token", "entropy"], [["<b>", 1.5]]))
    | token | entropy |
    |---|---|
    | &#60;b&#62; | 1.500 |
    ```
    """
    lines = [[_escape(name) for name in columns], *([_escape(_to_text(value)) for value in row] for row in rows)]
    head, *body = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([head, "|" + "---|" * len(columns), *body])


def _to_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return format_prompt(value)
    return "" if value is None else str(value)


def format_prompt(prompt: str | list[Mapping[str, Any]]) -> str:
    """
    Write a conversation as text, with the kind of what is no text in its place.

    Args:
        prompt (`str` or `list[dict]`):
            Text, which stays as it is, or turns of `role` and `content`.

    Returns:
        `str`: a line for each turn.

    Example:
    ```python
    >>> format_prompt([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}])
    'user: <image> What is it?'
    ```
    """
    if isinstance(prompt, str):
        return prompt
    lines = []
    for turn in prompt:
        content = turn.get("content") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [part.get("text") or "" if part.get("type") == "text" else f"<{part.get('type')}>" for part in parts]
        lines.append(f"{turn.get('role')}: {' '.join(texts)}")
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Keep text from being read as Markdown or HTML, and on one line: TensorBoard's Markdown knows no backslash for `<`."""
    escaped = "".join(f"&#{ord(character)};" if character in "\\`*_{}[]<>#|!&~" else character for character in text)
    return escaped.replace("\n", "<br>")
