"""`trl-forking evaluate`: a model answers problem sets, and a table, files and a page show how many answers are right."""

import time
from pathlib import Path

from ..data.model_path import check_model_path
from ..data.sources import check_source
from ..evaluation.problem_sets import find_problem_set
from ..run.run_folder import check_output_folder
from ..run.user_errors import UserError, exit_on_user_error
from .arguments import BUILT_IN, ForkingParser
from .evaluate_arguments import EvaluateArguments
from .problem_sources import load_problem_sources
from .quiet import quiet_datasets, quiet_libraries


def run_evaluate(flags: list[str]) -> None:
    """
    Run `trl-forking evaluate`.

    Args:
        flags (`list[str]`):
            Fields of [`EvaluateArguments`] as flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag, a file or a value is wrong, or the engine stopped.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.commands.evaluate import run_evaluate
    >>> flags = ["--model_name_or_path", "countdown", "--data", "countdown", "--num_problems", "4"]
    >>> run_evaluate([*flags, "--num_generations", "2"])
    Answers have at most 121 tokens...
    >>> sorted(path.name for path in Path("runs/evaluation").glob("*.*"))
    ['eval_results.json', 'evaluation.json', 'report.html']
    ```
    """
    parser = ForkingParser(
        EvaluateArguments,
        prog="trl-forking evaluate",
        usage="trl-forking evaluate --model_name_or_path MODEL --data SET [SET ...] [flags]",
        description="A model answers problem sets, and a table, files and a page show how many answers are right.",
        groups={
            "Model": ["model_name_or_path", "dtype", "device", "trust_remote_code"],
            "Problems": ["data", "data_config", "data_split", "num_problems", "prompt_template"],
            "Answers": [
                *("num_generations", "max_completion_length", "temperature", "top_p", "top_k", "seed", "batch_size"),
                *("shard_size", "use_vllm", "vllm_gpu_memory_utilization", "vllm_tensor_parallel_size"),
            ],
            "Result": ["baseline", "output_dir", "overwrite"],
        },
    )
    (args,) = parser.parse_args_and_config(flags)
    begin = time.perf_counter()
    with exit_on_user_error(parser.debug), parser.naming_places():
        check_output_folder(args.output_dir)
        if args.model_name_or_path != BUILT_IN:
            check_model_path(args.model_name_or_path)
        check_evaluation(args)
        others = [name for name in args.data or [] if name != BUILT_IN and not Path(name).is_file()]
        for name in others:
            if find_problem_set(name) is None:
                check_source(name)
        if others:
            quiet_datasets()
        sources = load_problem_sources(
            args.data or [], args.data_config, args.data_split, args.num_problems, args.seed
        )
    quiet_libraries()
    from .model_evaluation import EngineStopped, evaluate, write_evaluation

    errors = (ValueError, ImportError, OSError, EngineStopped)
    with exit_on_user_error(parser.debug, errors), parser.naming_places():
        sets = evaluate(args, sources)
    write_evaluation(args, sets, begin)


def check_evaluation(args: EvaluateArguments) -> None:
    """
    Check what belongs together, before a problem is read.

    Args:
        args ([`EvaluateArguments`]):
            What to evaluate, and how.

    Raises:
        [`UserError`]: if model and problems do not fit together, or there is no such baseline.

    Example:
    ```python
    >>> from trl_forking.commands.evaluate import EvaluateArguments, check_evaluation
    >>> check_evaluation(EvaluateArguments("countdown", ["aime24"]))
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: The built-in model knows the built-in task only: give --data countdown, or ...
    ```
    """
    _check_built_in(args)
    _check_baseline(args)


def _check_built_in(args: EvaluateArguments) -> None:
    other = next((name for name in args.data or [] if name != BUILT_IN), None)
    if args.model_name_or_path == BUILT_IN and other is not None:
        raise UserError(
            f"The built-in model knows the built-in task only: give --data {BUILT_IN}, or another model for {other}."
        )


def _check_baseline(args: EvaluateArguments) -> None:
    if args.baseline is not None and not Path(args.baseline).is_dir():
        raise UserError(
            f"--baseline: there is no folder {args.baseline}; give the --output_dir of another evaluation."
        )
    if args.baseline is not None and not any(Path(args.baseline).rglob("*.parquet")):
        raise UserError(
            f"--baseline: the folder {args.baseline} has no answers; give the --output_dir of another evaluation."
        )
