"""The problems of evaluations while training: problem sets, files, data sets of the Hub, or the built-in task."""

import io
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import ModelConfig

from ..data.sources import check_source
from ..evaluation.problem_sets import LoadedProblems, find_problem_set
from ..run.lengths import check_lengths
from ..run.user_errors import UserError, check_at_least
from .arguments import BUILT_IN
from .math_arguments import MathArguments
from .problem_sources import apply_template, load_problem_sources
from .settings import count


if TYPE_CHECKING:
    from datasets import Dataset

    from ..forking_grpo_config import ForkingGRPOConfig


def choose_eval_data(script_args: MathArguments, training_args: "ForkingGRPOConfig") -> list[str]:
    """
    Choose the problem sets of the evaluations while training.

    Args:
        script_args ([`MathArguments`]):
            The field `eval_data`. Without it, the data set that is trained on has to have another split.
        training_args ([`ForkingGRPOConfig`]):
            The field `eval_strategy`.

    Returns:
        `list[str]`: names as for `trl-forking evaluate --data`; empty without evaluations.

    Raises:
        [`UserError`]: if there are no problems but those that are trained on, or a name is wrong.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.commands.eval_data import choose_eval_data
    >>> from trl_forking.commands.math_arguments import MathArguments
    >>> args = ForkingGRPOConfig("runs/x", eval_strategy="steps", eval_steps=5, use_cpu=True)
    >>> choose_eval_data(MathArguments(dataset_name="problems.jsonl", eval_data=["aime24"]), args)
    ['aime24']
    ```
    """
    if training_args.eval_strategy == "no":
        return []
    source, names = script_args.dataset_name or "", script_args.eval_data
    if not names:
        if source != BUILT_IN and Path(source).is_file():
            strategy = getattr(training_args.eval_strategy, "value", training_args.eval_strategy)
            raise UserError(
                f"eval_strategy is {strategy}, but {source} has no other split than that of the training: "
                "give problems with eval_data, such as aime24 or another file."
            )
        return [source]
    for name in names:
        if (name == BUILT_IN) != (source == BUILT_IN):
            raise UserError(
                f"eval_data {name} and dataset_name {source} have different verifiers: the built-in task goes with itself only."
            )
        if name != BUILT_IN and find_problem_set(name) is None:
            check_source(name)
    return list(names)


def check_eval_data(script_args: MathArguments, training_args: "ForkingGRPOConfig") -> None:
    """
    Refuse problem sets of evaluations that would fail later, before anything is loaded.

    Args:
        script_args, training_args:
            As in [`choose_eval_data`].

    Raises:
        [`UserError`]: as in [`choose_eval_data`].

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.commands.eval_data import check_eval_data
    >>> from trl_forking.commands.math_arguments import MathArguments
    >>> args = ForkingGRPOConfig("runs/x", eval_strategy="steps", eval_steps=5, use_cpu=True)
    >>> check_eval_data(MathArguments(dataset_name="gsm8k", eval_data=["aime2024"]), args)
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: There is no problem set aime2024; did you mean aime24?
    ```
    """
    check_at_least(1, script_args, "eval_num_problems")
    choose_eval_data(script_args, training_args)


def load_eval_dataset(
    script_args: MathArguments, training_args: "ForkingGRPOConfig", model_args: ModelConfig, tokenizer: Any
) -> "Dataset | dict[str, Dataset] | None":
    """
    Load the problems of the evaluations while training, with the loader of `trl-forking evaluate`.

    No problem is left out because it is long: the figures of two runs would be over other problems.

    Args:
        script_args ([`MathArguments`]):
            Which problems, how many, and their prompt template.
        training_args ([`ForkingGRPOConfig`]):
            Whether there are evaluations, and the largest number of tokens of an answer.
        model_args ([`~trl.ModelConfig`]):
            The model, whose config names its context.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model, which measures the prompts.

    Returns:
        [`~datasets.Dataset`], `dict` or `None`: columns `prompt` and what the reward reads. Several sets are a mapping by name.
        `None` without evaluations.

    Raises:
        [`UserError`]: if a set cannot be loaded, or a prompt and its answer do not fit into the context of the model.

    Example:
    ```python
    >>> from trl_forking.commands.eval_data import load_eval_dataset
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> flags = ["--model_name_or_path", "countdown", "--dataset_name", "countdown", "--eval_num_problems", "4"]
    >>> arguments = make_parser().parse_args_and_config([*flags, "--eval_strategy", "epoch"])
    >>> load_eval_dataset(*arguments, tokenizer=None).column_names
    Evaluation while training: 4 problems of countdown.
    ['prompt', 'nums', 'goal', 'solution']
    ```
    """
    from accelerate import PartialState

    from .math_loading import read_context_length

    is_main = PartialState().is_main_process
    names = choose_eval_data(script_args, training_args)
    if not names:
        if script_args.eval_data and is_main:
            print("eval_data is not used, because eval_strategy is no.")
        return None
    config, split = script_args.dataset_config, script_args.dataset_test_split
    if script_args.eval_data:  # other data sets, which have no such configuration
        config, split = None, "test"
    with nullcontext() if is_main else redirect_stdout(io.StringIO()):
        loaded = load_problem_sources(names, config, split, script_args.eval_num_problems, training_args.seed)
        for problems, _ in loaded:
            number = count(len(problems.rows), "problem")
            print(" ".join([f"Evaluation while training: {number} of {problems.name}.", *problems.notes]))
    context = read_context_length(script_args.gguf_file, training_args, model_args)
    template = script_args.prompt_template
    sets = {
        problems.name: _build_dataset(problems, template, training_args, tokenizer, context) for problems, _ in loaded
    }
    return sets if len(sets) > 1 else next(iter(sets.values()))


def _build_dataset(
    problems: LoadedProblems, template: str, training_args: "ForkingGRPOConfig", tokenizer: Any, context: int | None
) -> "Dataset":
    from datasets import Dataset

    rows = apply_template(problems.rows, "none" if problems.name == BUILT_IN else template)
    if problems.name != BUILT_IN:  # whose answers end by themselves
        places = [
            (f"eval_data {problems.name}, problem {number}", row["prompt"]) for number, row in enumerate(rows, start=1)
        ]
        check_lengths(
            places,
            tokenizer,
            training_args.max_completion_length,
            context,
            template_arguments=training_args.chat_template_kwargs,
        )
    names = [name for name in ("prompt", "nums", "goal", "solution") if name in rows[0]]
    return Dataset.from_list([{name: row[name] for name in names} for row in rows])
