"""What `analyze` and `compare` share: which prompts a model answers. This module imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.prompts import choose_prompts, verify_solution
from ..data.sources import check_source
from ..decoding.settings import SamplingSettings
from ..run.user_errors import UserError, check_at_least, require
from ..selection.share import check_share
from .arguments import BUILT_IN
from .quiet import quiet_datasets
from .sampling_arguments import SamplingArguments


_VERIFIERS = ("auto", "math", BUILT_IN, "none")

ANSWER_GROUPS = {
    "Prompts": ("prompts", "prompts_config", "prompts_split", "prompt_template", "num_prompts", "verifier"),
    "Answers": (
        *("num_generations", "max_completion_length", "temperature", "top_p", "top_k", "seed", "batch_size"),
        *("use_vllm", "vllm_gpu_memory_utilization", "dtype", "device", "trust_remote_code"),
    ),
    "Result": ("top_entropy_quantile", "output_dir", "overwrite"),
}
"""The sections of `--help` with the fields of [`AnswerArguments`]."""


@dataclass
class AnswerArguments(SamplingArguments):
    """
    Which prompts a model answers, and how it answers them.

    Parameters:
        prompts (`str`):
            A file (`.jsonl`, `.json`, `.csv`, `.parquet`, `.txt`, and `.gz` or `.zst` behind that), a folder of such files,
            the name of a data set of the Hub, or `"countdown"`.
        prompts_config, prompts_split (`str`):
            Configuration and split of a data set of the Hub.
        prompt_template (`str`, *optional*):
            `"chat"` or `"paper"` puts each question into that template. By default each prompt stays as it is.
        num_prompts (`int`, *optional*, defaults to `64`):
            Number of prompts to take, from the first one on.
        num_generations, max_completion_length, temperature, top_p:
            Number of answers to each prompt, and how they are sampled, as in TRL.
        batch_size (`int`, *optional*, defaults to `16`):
            Number of prompts that are answered at the same time.
        vllm_gpu_memory_utilization (`float`, *optional*, defaults to `0.3`):
            Share of the GPU's memory for vLLM. The model that scores the answers needs the rest.
        verifier (`str`, *optional*, defaults to `"auto"`):
            What checks the answers: `"math"`, `"countdown"` or `"none"`. `"auto"` chooses what fits the prompts.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of the tokens that are forks, a fraction in (0, 1].
        output_dir (`str`):
            Folder to write to.

    Raises:
        `ValueError`: if a value is missing or out of its range.

    Example:
    ```python
    >>> from trl_forking.commands.answer_arguments import AnswerArguments
    >>> AnswerArguments(prompts="countdown").num_prompts
    64
    ```
    """

    prompts: str | None = field(
        default=None,
        metadata={"help": "File or folder of prompts, data set of the Hub, or `countdown`, the built-in task."},
    )
    prompts_config: str | None = field(default=None, metadata={"help": "Configuration of a data set of the Hub."})
    prompts_split: str = field(default="train", metadata={"help": "Split of a data set of the Hub."})
    prompt_template: str | None = field(
        default=None,
        metadata={"help": "`chat` or `paper` puts each question into that template.", "choices": ["chat", "paper"]},
    )
    num_prompts: int = field(default=64, metadata={"help": "Number of prompts to take, from the first one on."})
    num_generations: int = field(default=4, metadata={"help": "Number of answers to each prompt."})
    max_completion_length: int = field(default=512, metadata={"help": "Largest number of tokens of an answer."})
    temperature: float = field(default=1.0, metadata={"help": "Temperature of the answers and of the entropies."})
    top_p: float = field(
        default=1.0, metadata={"help": "Share of the probability that tokens are sampled from; 1.0 for all."}
    )
    batch_size: int = field(default=16, metadata={"help": "Number of prompts that are answered at the same time."})
    vllm_gpu_memory_utilization: float = field(default=0.3, metadata={"help": "Share of the GPU's memory for vLLM."})
    verifier: str = field(
        default="auto",
        metadata={
            "help": "What checks the answers: `math`, `countdown`, `none`, or `auto` for what fits the prompts.",
            "choices": list(_VERIFIERS),
        },
    )
    top_entropy_quantile: float = field(default=0.2, metadata={"help": "Share of the tokens that are forks."})
    output_dir: str = field(default="runs/analysis", metadata={"help": "Folder to write to."})

    def __post_init__(self) -> None:
        if self.prompts is None:
            raise ValueError("prompts is missing: give --prompts FILE, a data set of the Hub, or countdown.")
        check_at_least(1, self, "num_prompts", "batch_size")
        check_share(self.top_entropy_quantile)
        super().__post_init__()
        SamplingSettings(self.num_generations, self.max_completion_length, self.temperature, self.top_p, self.top_k)


def read_prompts(args: AnswerArguments) -> tuple[list[dict[str, Any]], Any]:
    """
    Read the prompts, print which rows are used, and choose what checks the answers to them.

    If the answers are checked and the data has right answers, rows without one are left out, as in training.

    Args:
        args ([`AnswerArguments`]):
            Which prompts, and which verifier.

    Returns:
        `tuple`: rows with a `prompt`, and a function of a row and an answer, or `None`.

    Raises:
        [`UserError`]: if there are no such prompts, or the verifier does not fit them.

    Example:
    ```python
    >>> from trl_forking.commands.answer_arguments import AnswerArguments, read_prompts
    >>> rows, verifier = read_prompts(AnswerArguments(prompts="countdown", num_prompts=2))
    >>> len(rows), verifier(rows[0], "no derivation")
    (2, 0.0)
    ```
    """
    if args.prompts == BUILT_IN:
        from ..countdown import make_countdown_dataset

        _refuse_verifier(args, "math")
        rows = list(make_countdown_dataset("eval", args.num_prompts, args.seed))
        return rows, None if args.verifier == "none" else _verify_countdown
    _refuse_verifier(args, BUILT_IN)
    check_source(args.prompts or "")
    if not Path(args.prompts or "").is_file():
        quiet_datasets()
    needs_answer = {"auto": None, "math": True, "none": False}[args.verifier]
    source = (args.prompts or "", args.prompt_template, args.prompts_config, args.prompts_split)
    rows, has_answers = choose_prompts(*source, args.num_prompts, needs_answer)
    if has_answers:
        require("math_verify", "trl-forking[math]")
    return rows, verify_solution if has_answers else None


def _refuse_verifier(args: AnswerArguments, name: str) -> None:
    if args.verifier == name:
        raise UserError(f"--verifier {name} does not fit --prompts {args.prompts}: leave it out.")


def _verify_countdown(row: dict[str, Any], completion: str) -> float:
    from ..countdown import verify_countdown

    return float(verify_countdown(completion, row["nums"], row["goal"]))
