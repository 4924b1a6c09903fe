"""`trl-forking evaluate`: a model answers problem sets, and a table, files and a page show how many answers are right."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..analysis import load_model
from ..analysis.models import check_device
from ..analysis.shards import read_settings
from ..data.model_path import check_model_path
from ..decoding.sampling import SamplingSettings
from ..evaluation.answering import EngineStopped, answer_problems, encode_prompts
from ..evaluation.engines import Engine, TransformersEngine, VllmEngine
from ..evaluation.page import write_evaluation_page
from ..evaluation.problem_sets import LoadedProblems
from ..evaluation.records import group_by_problem, read_answers
from ..evaluation.results import EvaluatedSet, build_table, choose_headlines, describe_difference, write_results
from ..evaluation.summary import compare_summaries, summarize_answers
from ..evaluation.verifiers import Verifier
from ..run.lengths import find_context_length
from ..run.run_folder import check_output_folder
from ..run.user_errors import UserError, check_at_least, exit_on_user_error
from .arguments import BUILT_IN, ForkingParser
from .problem_sources import apply_template, choose_template, load_problem_sources
from .quiet import quiet_libraries


MAX_COMPLETION_LENGTH = 20_480
"""The paper's, section 5.2."""


@dataclass
class EvaluateArguments:
    """
    Which model `trl-forking evaluate` tests, on which problems, and how.

    Parameters:
        model_name_or_path (`str`):
            Folder of a model, checkpoint or adapter, name of the Hub, `.gguf` file, or `"countdown"`.
        data (`list[str]`):
            Problem sets: `aime24`, `aime25`, `amc23`, `math500`, `minerva`, `olympiad`, files, data sets of the Hub, or
            `"countdown"`.
        data_config, data_split (`str`):
            Configuration and split of a data set of the Hub that is no preset.
        num_problems (`int`, *optional*):
            Number of problems to take from each set, from the first one on; by default all.
        prompt_template (`str`, *optional*):
            `"chat"`, `"paper"` or `"none"`. The default is the tokenizer's chat template, or the paper's template for a
            model that has none.
        num_generations, max_completion_length, temperature, top_p, top_k, seed:
            Number of answers to each problem, and how they are sampled. The defaults are the paper's; answers are
            shorter where the model's context is.
        batch_size (`int`, *optional*, defaults to `64`):
            Number of answers in a forward pass of Transformers.
        shard_size (`int`, *optional*, defaults to `16`):
            Number of problems that are answered and written together.
        use_vllm (`bool`, *optional*, defaults to `False`):
            Whether vLLM samples the answers.
        vllm_gpu_memory_utilization, vllm_tensor_parallel_size:
            Share of each GPU's memory for vLLM, and number of GPUs.
        dtype, device (`str`, *optional*):
            Type of the weights, and where they are.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether to run code that comes with a model of the Hub.
        baseline (`str`, *optional*):
            Folder of another evaluation to compare with, problem by problem.
        output_dir (`str`):
            Folder to write to.
        overwrite (`bool`, *optional*, defaults to `False`):
            Whether to delete other answers that are in the folder. Without it, they are an error.

    Raises:
        `ValueError`: if a value is missing or out of its range.

    Example:
    ```python
    >>> from trl_forking.commands.evaluate import EvaluateArguments
    >>> EvaluateArguments(model_name_or_path="countdown", data=["countdown"]).num_generations
    16
    ```
    """

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Folder of a model, checkpoint or adapter, name of the Hub, `.gguf` file, or `countdown`."},
    )
    data: list[str] | None = field(
        default=None,
        metadata={"help": "Problem sets: aime24 aime25 amc23 math500 minerva olympiad, files, or `countdown`."},
    )
    data_config: str | None = field(default=None, metadata={"help": "Configuration of another data set of the Hub."})
    data_split: str = field(default="test", metadata={"help": "Split of another data set of the Hub."})
    num_problems: int | None = field(
        default=None, metadata={"help": "Number of problems of each set; all by default."}
    )
    prompt_template: str | None = field(
        default=None,
        metadata={
            "help": "`chat`, `paper` or `none`; by default the chat template, or the paper's where there is none.",
            "choices": ["chat", "paper", "none"],
        },
    )
    num_generations: int = field(default=16, metadata={"help": "Number of answers to each problem."})
    max_completion_length: int | None = field(
        default=None, metadata={"help": "Largest number of tokens of an answer; 20480 or what the context leaves."}
    )
    temperature: float = field(default=1.0, metadata={"help": "Temperature of the answers."})
    top_p: float = field(default=1.0, metadata={"help": "Share of the probability that tokens are sampled from."})
    top_k: int = field(default=0, metadata={"help": "Number of likeliest tokens to sample from; 0 for all tokens."})
    seed: int = field(default=42, metadata={"help": "Seed of the answers."})
    batch_size: int = field(default=64, metadata={"help": "Number of answers in a forward pass of Transformers."})
    shard_size: int = field(
        default=16, metadata={"help": "Number of problems that are answered and written together."}
    )
    use_vllm: bool = field(default=False, metadata={"help": "Let vLLM sample the answers."})
    vllm_gpu_memory_utilization: float = field(default=0.9, metadata={"help": "Share of each GPU's memory for vLLM."})
    vllm_tensor_parallel_size: int = field(default=1, metadata={"help": "Number of GPUs for vLLM."})
    dtype: str | None = field(default=None, metadata={"help": "Type of the weights, such as `bfloat16`."})
    device: str | None = field(default=None, metadata={"help": "Device, such as `cuda:1`."})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run the code that comes with a model of the Hub."}
    )
    baseline: str | None = field(
        default=None, metadata={"help": "Folder of another evaluation to compare with, problem by problem."}
    )
    output_dir: str = field(default="runs/evaluation", metadata={"help": "Folder to write to."})
    overwrite: bool = field(default=False, metadata={"help": "Delete other answers that are in the folder."})

    def __post_init__(self) -> None:
        if self.model_name_or_path is None:
            raise ValueError("model_name_or_path is missing: give a model of the Hub, a folder, or countdown.")
        if not self.data:
            raise ValueError("data is missing: give --data aime24, another problem set, a file, or countdown.")
        check_at_least(1, self, "num_problems", "batch_size", "shard_size", "vllm_tensor_parallel_size")
        self.build_sampling(1 if self.max_completion_length is None else self.max_completion_length)
        check_device(self.device, self.dtype)

    def build_sampling(self, max_completion_length: int) -> SamplingSettings:
        """Build the settings of the sampler for a largest number of tokens."""
        return SamplingSettings(self.num_generations, max_completion_length, self.temperature, self.top_p, self.top_k)


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
    quiet_libraries()
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
    with exit_on_user_error(parser.debug, (ValueError, ImportError, OSError, EngineStopped)):
        check_output_folder(args.output_dir)
        if args.model_name_or_path != BUILT_IN:
            check_model_path(args.model_name_or_path)
        sets = evaluate(args)
    folder = Path(args.output_dir)
    write_results(folder, sets, args.model_name_or_path)
    write_evaluation_page(folder / "report.html", sets, f"Evaluation of {Path(args.model_name_or_path).name}")
    _print_results(sets, folder, time.perf_counter() - begin)


def evaluate(args: EvaluateArguments) -> list[EvaluatedSet]:
    """
    Let a model answer all problem sets, and summarize the answers.

    Args:
        args ([`EvaluateArguments`]):
            What to evaluate, and how.

    Returns:
        `list[EvaluatedSet]`: results of each set.

    Raises:
        `ValueError`: if a model, a set or a setting is wrong.
        [`EngineStopped`]: if the engine fails; finished answers are kept.

    Example:
    ```python
    >>> from trl_forking.commands.evaluate import EvaluateArguments, evaluate
    >>> sizes = {"num_problems": 2, "num_generations": 2, "max_completion_length": 8}
    >>> args = EvaluateArguments("countdown", ["countdown"], output_dir="runs/short", **sizes)
    >>> evaluate(args)[0].summary.num_answers
    countdown: the prompts of the built-in task as they are.
    4
    ```
    """
    _check_built_in(args)
    _check_baseline(args)
    sources = load_problem_sources(args.data or [], args.data_config, args.data_split, args.num_problems, args.seed)
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
