"""`trl-forking analyze`: a model and some prompts in; page, plots and tables of its forks out."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import ScoredAnswer, collect, iterate_records, load_model, load_prompts, verify_solution
from ..analysis.forks import check_share
from ..analysis.page import choose_min_count, draw_figures, require_plots, write_figures, write_page, write_tables
from ..analysis.sampling import SamplingSettings
from ..analysis.statistics import describe, summarize
from ..run.user_errors import UserError, check_at_least, exit_on_user_error, require
from .arguments import ForkingParser


BUILT_IN = "countdown"
"""Name of the model and of the task that come with the package."""
_VERIFIERS = ("auto", "math", BUILT_IN, "none")


@dataclass
class AnswerArguments:
    """
    Which prompts are answered, and how.

    Parameters:
        prompts (`str`):
            A file (`.jsonl`, `.json`, `.csv`, `.parquet`, `.txt`), the name of a data set of the Hub, or `"countdown"`.
        prompts_config, prompts_split (`str`):
            Configuration and split of a data set of the Hub.
        prompt_template (`str`, *optional*):
            `"chat"` or `"paper"`: puts each question into that template. By default prompts are taken as they are.
        num_prompts (`int`, *optional*, defaults to `64`):
            How many are answered, the first ones.
        num_generations, max_completion_length, temperature, top_p, top_k, seed:
            Answers to each prompt and how they are drawn, as in TRL.
        batch_size (`int`, *optional*, defaults to `16`):
            Prompts that are answered at a time.
        use_vllm (`bool`, *optional*, defaults to `False`):
            Whether vLLM draws the answers.
        vllm_gpu_memory_utilization (`float`, *optional*, defaults to `0.3`):
            Share of the GPU's memory for vLLM; the model that scores the answers lies beside it.
        verifier (`str`, *optional*, defaults to `"auto"`):
            `"math"`, `"countdown"`, `"none"`, or by what the prompts are.
        dtype, device (`str`, *optional*):
            Type of the weights and where they are; by default as stored, on the GPU, and float32 on a CPU.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether to run code that a model of the Hub brings along.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks.
        output_dir (`str`):
            Folder to write to.
        overwrite (`bool`, *optional*, defaults to `False`):
            Whether to begin anew where the folder has other answers.

    Raises:
        `ValueError`: if a value is out of its range.

    Example:
    ```python
    >>> AnswerArguments(prompts="countdown").num_prompts
    64
    ```
    """

    prompts: str | None = field(
        default=None, metadata={"help": "File of prompts, data set of the Hub, or `countdown`, the built-in task."}
    )
    prompts_config: str | None = field(default=None, metadata={"help": "Configuration of a data set of the Hub."})
    prompts_split: str = field(default="train", metadata={"help": "Split of a data set of the Hub."})
    prompt_template: str | None = field(
        default=None,
        metadata={"help": "`chat` or `paper` puts each question into that template.", "choices": ["chat", "paper"]},
    )
    num_prompts: int = field(default=64, metadata={"help": "Number of prompts, the first ones."})
    num_generations: int = field(default=4, metadata={"help": "Answers to each prompt."})
    max_completion_length: int = field(default=512, metadata={"help": "Most tokens of an answer."})
    temperature: float = field(default=1.0, metadata={"help": "Temperature of answers and entropies."})
    top_p: float = field(default=1.0, metadata={"help": "Share of the probability that answers are drawn from."})
    top_k: int = field(default=0, metadata={"help": "Number of tokens that answers are drawn from; 0 for all."})
    batch_size: int = field(default=16, metadata={"help": "Prompts that are answered at a time."})
    seed: int = field(default=42, metadata={"help": "Another seed draws other answers."})
    use_vllm: bool = field(default=False, metadata={"help": "Let vLLM draw the answers."})
    vllm_gpu_memory_utilization: float = field(default=0.3, metadata={"help": "Share of the GPU's memory for vLLM."})
    verifier: str = field(
        default="auto",
        metadata={"help": "What checks the answers; `auto` goes by the prompts.", "choices": list(_VERIFIERS)},
    )
    dtype: str | None = field(default=None, metadata={"help": "Type of the weights, such as `bfloat16`."})
    device: str | None = field(default=None, metadata={"help": "Device, such as `cuda:1`."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that a model of the Hub brings."})
    top_entropy_quantile: float = field(default=0.2, metadata={"help": "Share of the tokens that are forks."})
    output_dir: str = field(default="runs/analysis", metadata={"help": "Folder to write to."})
    overwrite: bool = field(default=False, metadata={"help": "Begin anew where the folder has other answers."})

    def __post_init__(self) -> None:
        if self.prompts is None:
            raise ValueError("prompts is missing: give --prompts FILE, a data set of the Hub, or countdown.")
        check_at_least(1, self, "num_prompts", "batch_size")
        check_share(self.top_entropy_quantile)
        SamplingSettings(self.num_generations, self.max_completion_length, self.temperature, self.top_p, self.top_k)


@dataclass
class AnalyzeArguments(AnswerArguments):
    """
    What `trl-forking analyze` looks at.

    Parameters:
        model_name_or_path (`str`):
            Folder of a model or adapter, a name of the Hub, a `.gguf` file, or `"countdown"`.
        top_alternatives (`int`, *optional*, defaults to `5`):
            Alternatives noted at every token.
        min_count (`int`, *optional*):
            How often a token must occur to be in the lists. By default 101 as in the paper, or less where there are
            fewer than 100,000 tokens: a thousandth of them, but at least 5.
        hes (`bool`, *optional*, defaults to `False`):
            Whether to score each answer by the sum of its highest 0.5 % entropies.
        max_answers (`int`, *optional*, defaults to `256`):
            Most answers on the page.

    Raises:
        `ValueError`: if a value is missing or out of its range.

    Example:
    ```python
    >>> AnalyzeArguments(prompts="countdown", model_name_or_path="countdown").output_dir
    'runs/analysis'
    ```
    """

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Folder of a model or adapter, name of the Hub, `.gguf` file, or `countdown`."}
    )
    top_alternatives: int = field(default=5, metadata={"help": "Alternatives noted at every token."})
    min_count: int | None = field(
        default=None, metadata={"help": "How often a token must occur to be listed; at most 101 by default."}
    )
    hes: bool = field(default=False, metadata={"help": "Score each answer by the sum of its highest 0.5 % entropies."})
    max_answers: int = field(default=256, metadata={"help": "Most answers on the page."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model_name_or_path is None:
            raise ValueError("model_name_or_path is missing: give a model of the Hub, a folder, or countdown.")
        check_at_least(0, self, "top_alternatives")
        check_at_least(1, self, "max_answers", "min_count")


def run_analyze(flags: list[str]) -> None:
    """
    Run `trl-forking analyze`.

    Args:
        flags (`list[str]`):
            Fields of [`AnalyzeArguments`] as flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag, a file or a value is wrong.

    Example:
    ```python
    >>> run_analyze(["--model_name_or_path", "countdown", "--prompts", "countdown", "--num_prompts", "4"])
    Answers...
    >>> from pathlib import Path
    >>> sorted(path.name for path in Path("runs/analysis").glob("*.html"))
    ['report.html']
    ```
    """
    parser = ForkingParser(AnalyzeArguments, prog="trl-forking analyze")
    (args,) = parser.parse_args_and_config(flags)
    folder = Path(args.output_dir)
    with exit_on_user_error(parser.debug):
        require_plots()
        rows, verifier = read_prompts(args)
        model, tokenizer = load(args.model_name_or_path, args)
        print(f"Answers go to {folder}; after an interruption the same command goes on.")
        answer_prompts(model, tokenizer, rows, verifier, args, top_alternatives=args.top_alternatives, hes=args.hes)
        records = read_for_page(folder, args.max_answers)
    summary = summarize(records, args.top_entropy_quantile, choose_min_count(records, args.min_count))
    figures = draw_figures(records, summary)
    write_tables(folder, summary)
    write_figures(folder, figures)
    title = f"Forks of {Path(args.model_name_or_path).name}"
    write_page(folder / "report.html", records, title, vars(args), summary, figures, args.max_answers)
    print(f"{describe(summary)}\nPage: {folder / 'report.html'}")


def read_for_page(folder: Path, max_answers: int) -> list[ScoredAnswer]:
    """
    Read a collection, with the alternatives, which take most of the memory, of the first `max_answers` answers only.

    Example:
    ```python
    >>> from trl_forking.analysis import write_records
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


def load(name_or_path: str, args: AnswerArguments) -> tuple[Any, Any]:
    """
    Load a model and its tokenizer; `countdown` is the one that comes with the package.

    Example:
    ```python
    >>> model, tokenizer = load("countdown", AnswerArguments(prompts="countdown"))
    >>> tokenizer.decode(tokenizer("3 * 5")["input_ids"])
    '3 * 5'
    ```
    """
    if name_or_path == BUILT_IN:
        from ..countdown.task import load_countdown_model, load_countdown_tokenizer

        return load_countdown_model(), load_countdown_tokenizer()
    return load_model(name_or_path, args.dtype, args.device, args.trust_remote_code)


def read_prompts(args: AnswerArguments) -> tuple[list[dict[str, Any]], Any]:
    """
    Read the prompts, and choose what checks the answers to them.

    Returns:
        `tuple`: rows with a `prompt`, and a function of a row and an answer, or `None`.

    Raises:
        [`UserError`]: if the verifier does not fit the prompts.

    Example:
    ```python
    >>> rows, verifier = read_prompts(AnswerArguments(prompts="countdown", num_prompts=2))
    >>> len(rows), verifier(rows[0], "no derivation")
    (2, 0.0)
    ```
    """
    is_built_in = args.prompts == BUILT_IN
    if is_built_in:
        from ..countdown.task import make_countdown_dataset

        rows = list(make_countdown_dataset("eval", args.num_prompts, args.seed))
    else:
        rows = load_prompts(
            args.prompts or "", args.prompt_template, args.prompts_config, args.prompts_split, args.num_prompts
        )
    name = args.verifier
    has_solution = any(row.get("solution") is not None for row in rows)
    if name == "auto":
        name = BUILT_IN if is_built_in else "math" if has_solution else "none"
    if (name == BUILT_IN) != is_built_in and BUILT_IN in (name, args.prompts) and name != "none":
        raise UserError(f"--verifier {name} does not fit --prompts {args.prompts}: leave it out.")
    if name == "math":
        if not has_solution:
            raise UserError(f"--verifier math: {args.prompts} has no column solution or answer to check against.")
        require("math_verify", "trl-forking[math]")
    return rows, {"math": verify_solution, BUILT_IN: _verify_countdown, "none": None}[name]


def _verify_countdown(row: dict[str, Any], completion: str) -> float:
    from ..countdown.task import verify_countdown

    return float(verify_countdown(completion, row["nums"], row["goal"]))


def answer_prompts(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], verifier: Any, args: AnswerArguments, **kwargs: Any
) -> None:
    """
    Let a model answer prompts into `args.output_dir`, see [`collect`].

    Example:
    ```python
    >>> args = AnswerArguments(prompts="countdown", num_prompts=1, max_completion_length=4, output_dir="runs/answers")
    >>> answer_prompts(*load("countdown", args), *read_prompts(args), args, disable_tqdm=True)
    >>> len(read_for_page(Path(args.output_dir), max_answers=1))
    4
    ```
    """
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
