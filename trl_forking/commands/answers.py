"""How a model answers the prompts of `analyze` and `compare`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import ScoredAnswer, collect, iterate_records, load_model
from ..run.lengths import check_lengths, find_context_length
from .answer_arguments import AnswerArguments
from .arguments import BUILT_IN


def load(name_or_path: str, args: AnswerArguments) -> tuple[Any, Any]:
    """
    Load a model and its tokenizer. `countdown` is the model that comes with the package.

    Args:
        name_or_path (`str`):
            Model, as in [`~trl_forking.analysis.load_model`], or `"countdown"`.
        args ([`AnswerArguments`]):
            Type and place of the weights.

    Returns:
        `tuple`: [`~transformers.PreTrainedModel`] and [`~transformers.PreTrainedTokenizerBase`].

    Raises:
        `ValueError`: if there is no such model.

    Example:
    ```python
    >>> from trl_forking.commands.answer_arguments import AnswerArguments
    >>> from trl_forking.commands.answers import load
    >>> model, tokenizer = load("countdown", AnswerArguments(prompts="countdown"))
    >>> tokenizer.decode(tokenizer("3 * 5")["input_ids"])
    '3 * 5'
    ```
    """
    if name_or_path == BUILT_IN:
        from ..countdown import load_countdown_model, load_countdown_tokenizer

        return load_countdown_model(), load_countdown_tokenizer()
    return load_model(name_or_path, args.dtype, args.device, args.trust_remote_code)


def answer_prompts(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], verifier: Any, args: AnswerArguments, **kwargs: Any
) -> None:
    """
    Let a model answer prompts into `args.output_dir`, see [`~trl_forking.analysis.collect`].

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        rows (`list[dict]`):
            The prompts, from [`~trl_forking.commands.answer_arguments.read_prompts`].
        verifier (`Callable` or `None`):
            What checks the answers, from [`~trl_forking.commands.answer_arguments.read_prompts`].
        args ([`AnswerArguments`]):
            How to answer.
        **kwargs:
            Additional keyword arguments of [`~trl_forking.analysis.collect`].

    Raises:
        [`UserError`]: if a prompt and its answer do not fit into the context of the model.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.commands.answer_arguments import AnswerArguments, read_prompts
    >>> from trl_forking.commands.answers import answer_prompts, load, read_for_page
    >>> args = AnswerArguments(prompts="countdown", num_prompts=1, max_completion_length=4, output_dir="runs/answers")
    >>> answer_prompts(*load("countdown", args), *read_prompts(args), args, disable_tqdm=True)
    >>> len(read_for_page(Path(args.output_dir), max_answers=1))
    4
    ```
    """
    if args.prompts != BUILT_IN:  # whose answers end by themselves
        places = [
            (getattr(row, "place", f"prompt {number}"), row["prompt"]) for number, row in enumerate(rows, start=1)
        ]
        check_lengths(places, tokenizer, args.max_completion_length, find_context_length(model.config))
    collect(
        model,
        rows,
        args.output_dir,
        tokenizer=tokenizer,
        num_generations=args.num_generations,
        max_completion_length=args.max_completion_length,
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        batch_size=args.batch_size,
        seed=args.seed,
        verifier=verifier,
        use_vllm=args.use_vllm,
        vllm_kwargs={
            "gpu_memory_utilization": args.vllm_gpu_memory_utilization,
            "trust_remote_code": args.trust_remote_code,
        },
        description={"prompts_from": args.prompts},
        overwrite=args.overwrite,
        **kwargs,
    )


def read_for_page(folder: Path, max_answers: int) -> list[ScoredAnswer]:
    """
    Read a collection. Only the first `max_answers` answers keep their alternatives, which take most of the memory.

    Args:
        folder (`Path`):
            Folder of the collection.
        max_answers (`int`):
            Largest number of answers on the page.

    Returns:
        `list[ScoredAnswer]`: all answers.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.analysis import write_records
    >>> from trl_forking.commands.answers import read_for_page
    >>> write_records("empty", [], {"model": "tiny"})
    >>> read_for_page(Path("empty"), max_answers=1)
    []
    ```
    """
    records: list[ScoredAnswer] = []
    for record in iterate_records(folder):
        if len(records) >= max_answers:
            size = len(record.tokens)
            record = replace(record, top_tokens=[[]] * size, top_logprobs=np.zeros((size, 0), np.float32))
        records.append(record)
    return records
