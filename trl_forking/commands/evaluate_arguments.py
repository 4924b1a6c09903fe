"""The flags of `trl-forking evaluate`. This module imports no torch."""

from dataclasses import dataclass, field

from ..decoding.settings import SamplingSettings
from ..run.user_errors import check_at_least
from .sampling_arguments import SamplingArguments


@dataclass
class EvaluateArguments(SamplingArguments):
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
        num_generations, max_completion_length, temperature, top_p:
            Number of answers to each problem, and how they are sampled. The defaults are the paper's; answers are
            shorter where the model's context is.
        batch_size (`int`, *optional*, defaults to `64`):
            Number of answers in a forward pass of Transformers.
        shard_size (`int`, *optional*, defaults to `16`):
            Number of problems that are answered and written together.
        vllm_gpu_memory_utilization, vllm_tensor_parallel_size:
            Share of each GPU's memory for vLLM, and number of GPUs.
        baseline (`str`, *optional*):
            Folder of another evaluation to compare with, problem by problem.
        output_dir (`str`):
            Folder to write to.

    Raises:
        `ValueError`: if a value is missing or out of its range.

    Example:
    ```python
    >>> from trl_forking.commands.evaluate_arguments import EvaluateArguments
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
    batch_size: int = field(default=64, metadata={"help": "Number of answers in a forward pass of Transformers."})
    shard_size: int = field(
        default=16, metadata={"help": "Number of problems that are answered and written together."}
    )
    vllm_gpu_memory_utilization: float = field(default=0.9, metadata={"help": "Share of each GPU's memory for vLLM."})
    vllm_tensor_parallel_size: int = field(default=1, metadata={"help": "Number of GPUs for vLLM."})
    baseline: str | None = field(
        default=None, metadata={"help": "Folder of another evaluation to compare with, problem by problem."}
    )
    output_dir: str = field(default="runs/evaluation", metadata={"help": "Folder to write to."})

    def __post_init__(self) -> None:
        if self.model_name_or_path is None:
            raise ValueError("model_name_or_path is missing: give a model of the Hub, a folder, or countdown.")
        if not self.data:
            raise ValueError("data is missing: give --data aime24, another problem set, a file, or countdown.")
        check_at_least(1, self, "num_problems", "batch_size", "shard_size", "vllm_tensor_parallel_size")
        self.build_sampling(1 if self.max_completion_length is None else self.max_completion_length)
        super().__post_init__()

    def build_sampling(self, max_completion_length: int) -> SamplingSettings:
        """Build the settings of the sampler for a largest number of tokens."""
        return SamplingSettings(self.num_generations, max_completion_length, self.temperature, self.top_p, self.top_k)
