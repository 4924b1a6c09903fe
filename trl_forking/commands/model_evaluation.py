"""How `trl-forking evaluate` lets a model answer problem sets, and shows how many answers are right."""

import time
from pathlib import Path
from typing import Any

from ..analysis import load_model
from ..analysis.shards import read_settings
from ..decoding.settings import SamplingSettings
from ..evaluation.answering import EngineStopped as EngineStopped
from ..evaluation.answering import answer_problems, encode_prompts
from ..evaluation.engines import Engine, TransformersEngine, VllmEngine
from ..evaluation.page import write_evaluation_page
from ..evaluation.problem_sets import LoadedProblems
from ..evaluation.records import group_by_problem, read_answers
from ..evaluation.results import EvaluatedSet, build_table, choose_headlines, describe_difference, write_results
from ..evaluation.summary import compare_summaries, summarize_answers
from ..evaluation.verifiers import Verifier
from ..run.lengths import find_context_length
from ..run.user_errors import UserError
from .arguments import BUILT_IN
from .evaluate_arguments import EvaluateArguments
from .problem_sources import apply_template, choose_template


MAX_COMPLETION_LENGTH = 20_480
"""The paper's, section 5.2."""


def evaluate(args: EvaluateArguments, sources: list[tuple[LoadedProblems, Verifier]]) -> list[EvaluatedSet]:
    """
    Let a model answer all problem sets, and summarize the answers.

    Args:
        args ([`EvaluateArguments`]):
            What to evaluate, and how.
        sources (`list[tuple]`):
            Problems and verifier of each set, from [`~trl_forking.commands.problem_sources.load_problem_sources`].

    Returns:
        `list[EvaluatedSet]`: results of each set.

    Raises:
        `ValueError`: if a model, a set or a setting is wrong.
        [`EngineStopped`]: if the engine fails; finished answers are kept.

    Example:
    ```python
    >>> from trl_forking.commands.evaluate import EvaluateArguments
    >>> from trl_forking.commands.model_evaluation import evaluate
    >>> from trl_forking.commands.problem_sources import load_problem_sources
    >>> sizes = {"num_problems": 2, "num_generations": 2, "max_completion_length": 8}
    >>> args = EvaluateArguments("countdown", ["countdown"], output_dir="runs/short", **sizes)
    >>> evaluate(args, load_problem_sources(["countdown"], num_problems=2))[0].summary.num_answers
    countdown: the prompts of the built-in task as they are.
    4
    ```
    """
    model, tokenizer, context_length = _load(args)
    templates = [choose_template(args.prompt_template, problems.name, tokenizer) for problems, _ in sources]
    sampling = args.build_sampling(_choose_length(args, sources, templates, tokenizer, context_length))
    for (problems, _), (_, reason) in zip(sources, templates, strict=True):
        print(" ".join([reason, *problems.notes]))
    engine = _build_engine(args, model, tokenizer, sampling, context_length)
    results = []
    for (problems, verifier), (template, _) in zip(sources, templates, strict=True):
        folder = _answer(args, engine, problems, verifier, template, context_length)
        results.append(_summarize(problems, folder, args.baseline))
    return results


def write_evaluation(args: EvaluateArguments, sets: list[EvaluatedSet], begin: float) -> None:
    """
    Write the files and the page of an evaluation, and print its table.

    Args:
        args ([`EvaluateArguments`]):
            What was evaluated.
        sets (`list[EvaluatedSet]`):
            Results of each set.
        begin (`float`):
            When the command began, by `time.perf_counter`.
    """
    folder = Path(args.output_dir)
    write_results(folder, sets, args.model_name_or_path or "")
    write_evaluation_page(folder / "report.html", sets, f"Evaluation of {Path(args.model_name_or_path or '').name}")
    _print_results(sets, folder, time.perf_counter() - begin)


def _load(args: EvaluateArguments) -> tuple[Any, Any, int | None]:
    name = args.model_name_or_path or ""
    if args.use_vllm and name == BUILT_IN:
        raise UserError("use_vllm: the built-in model is too small for vLLM; leave use_vllm out.")
    if name == BUILT_IN:
        from ..countdown import load_countdown_model, load_countdown_tokenizer

        model = load_countdown_model()
        return model, load_countdown_tokenizer(), find_context_length(model.config)
    if args.use_vllm:
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(name, trust_remote_code=args.trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=args.trust_remote_code)
        return None, tokenizer, find_context_length(config)
    model, tokenizer = load_model(name, args.dtype, args.device, args.trust_remote_code)
    return model, tokenizer, find_context_length(model.config)


def _choose_length(
    args: EvaluateArguments,
    sources: list[tuple[LoadedProblems, Verifier]],
    templates: list[tuple[str, str]],
    tokenizer: Any,
    context_length: int | None,
) -> int:
    """Choose the largest number of tokens of an answer: as asked for, or the paper's, or what the context leaves."""
    if args.max_completion_length is not None:
        return args.max_completion_length
    if context_length is None:
        return MAX_COMPLETION_LENGTH
    prompts = [
        ids
        for (problems, _), (template, _) in zip(sources, templates, strict=True)
        for _, ids in encode_prompts([row["prompt"] for row in apply_template(problems.rows, template)], tokenizer)
    ]
    left = context_length - max(map(len, prompts))
    if left < 1:
        raise UserError(
            f"The longest problem has {context_length - left:,} tokens, but the model can read {context_length:,}: leave "
            "the problem out."
        )
    if left < MAX_COMPLETION_LENGTH:
        print(f"Answers have at most {left:,} tokens, because the model can read {context_length:,} in all.")
    return min(left, MAX_COMPLETION_LENGTH)


def _build_engine(
    args: EvaluateArguments, model: Any, tokenizer: Any, sampling: SamplingSettings, context_length: int | None
) -> Engine:
    if not args.use_vllm:
        return TransformersEngine(model, tokenizer, sampling, args.batch_size)
    return VllmEngine(
        args.model_name_or_path or "",
        tokenizer,
        sampling,
        gpu_memory_utilization=args.vllm_gpu_memory_utilization,
        tensor_parallel_size=args.vllm_tensor_parallel_size,
        dtype=args.dtype or "auto",
        trust_remote_code=args.trust_remote_code,
        max_model_len=context_length,
    )


def _answer(
    args: EvaluateArguments,
    engine: Engine,
    problems: LoadedProblems,
    verifier: Verifier,
    template: str,
    context_length: int | None,
) -> Path:
    return answer_problems(
        engine,
        apply_template(problems.rows, template),
        Path(args.output_dir) / problems.name,
        verifier=verifier,
        description={
            "model": args.model_name_or_path,
            "data": problems.dataset or problems.name,
            "revision": problems.revision,
            "prompt_template": template,
        },
        context_length=context_length,
        shard_size=args.shard_size,
        seed=args.seed,
        overwrite=args.overwrite,
    )


def _summarize(problems: LoadedProblems, folder: Path, baseline: str | None) -> EvaluatedSet:
    answers = read_answers(folder)
    summary = summarize_answers(group_by_problem(answers))
    before = difference = None
    if baseline is not None:
        other = Path(baseline) / problems.name
        if not (other / "run.json").is_file():
            raise UserError(
                f"--baseline: {baseline} has no answers to {problems.name}: evaluate the other model on it."
            )
        before = summarize_answers(group_by_problem(read_answers(other)))
        difference = compare_summaries(before, summary)
    return EvaluatedSet(problems, answers, summary, read_settings(folder), before, difference)


def _print_results(sets: list[EvaluatedSet], folder: Path, seconds: float) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True)
    console.print(build_table(sets))
    print("Intervals in [] are 95 % intervals over problems.")
    for each in sets:
        name = choose_headlines(each.summary.num_generations)[0]
        if each.difference is not None and name in each.difference.estimates:
            print(f"{each.problems.title}: {describe_difference(each.difference, name)}")
    print(f"{seconds:.0f} s. Results: {folder / 'eval_results.json'}. Page: {folder / 'report.html'}")
