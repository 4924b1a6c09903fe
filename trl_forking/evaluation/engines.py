"""What draws the answers of an evaluation: Transformers or vLLM."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from ..analysis.provenance import compute_fingerprint, compute_hash
from ..decoding.sampling import VllmSampler, find_eos_token_ids
from ..decoding.settings import SamplingSettings
from ..run.user_errors import UserError
from .length_ordered import LengthOrderedSampler


class Engine(Protocol):
    """Draws answers. The same prompts and seed give the same answers."""

    tokenizer: Any
    eos_token_ids: list[int]
    settings: SamplingSettings
    description: dict[str, Any]
    """What decides which answers it draws, for the settings of an evaluation."""

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], seed: int, on_answers: Callable[[int], Any]
    ) -> list[list[list[int]]]:
        """Draw the answers to each prompt, and report how many have ended."""


class TransformersEngine(LengthOrderedSampler):
    """
    Draws answers with `model.generate`, see [`LengthOrderedSampler`].

    Args:
        model, tokenizer, settings, batch_size:
            As in [`LengthOrderedSampler`].

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> from trl_forking.decoding.sampling import SamplingSettings
    >>> from trl_forking.evaluation.engines import TransformersEngine
    >>> engine = TransformersEngine(load_countdown_model(), load_countdown_tokenizer(), SamplingSettings())
    >>> engine.description["engine"]
    'transformers'
    ```
    """

    def __init__(self, model: Any, tokenizer: Any, settings: SamplingSettings, batch_size: int = 64):
        super().__init__(model, tokenizer, settings, batch_size)
        self.description = {
            "engine": "transformers",
            "weights": compute_fingerprint(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "batch_size": batch_size,
        }


class VllmEngine:
    """
    Draws answers with vLLM, which orders and batches them itself. It loads the model; Transformers does not.

    Args:
        model (`str`):
            Folder or name on the Hub of a whole model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        settings ([`SamplingSettings`]):
            How to draw.
        **kwargs:
            Arguments of vLLM's `LLM`, such as `gpu_memory_utilization`, `tensor_parallel_size` and `dtype`.

    Raises:
        [`UserError`]: if the model is an adapter or a GGUF file.
        `ImportError`: if vLLM is not installed.

    Example:
    ```python
    >>> from trl_forking.evaluation.engines import VllmEngine
    >>> VllmEngine("model.gguf", None, None)
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: use_vllm takes no GGUF file: give a folder or a name of the Hub, or leave it out.
    ```
    """

    def __init__(self, model: str, tokenizer: Any, settings: SamplingSettings, **kwargs: Any):
        if model.endswith(".gguf"):
            raise UserError("use_vllm takes no GGUF file: give a folder or a name of the Hub, or leave it out.")
        if (Path(model) / "adapter_config.json").is_file():
            raise UserError(
                "use_vllm: vLLM would answer without the adapter: merge the adapter into its base model first."
            )
        self.tokenizer, self.settings = tokenizer, settings
        self.eos_token_ids = _read_eos_token_ids(model, tokenizer)
        self._sampler = VllmSampler(model, settings, self.eos_token_ids, **kwargs)
        self.description = {
            "engine": "vllm",
            "weights": _compute_files_fingerprint(Path(model)),
            "dtype": str(kwargs.get("dtype", "auto")),
        }

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], seed: int, on_answers: Callable[[int], Any]
    ) -> list[list[list[int]]]:
        """Draw the answers to each prompt. All of them are reported at the end, because vLLM returns them together."""
        answers = self._sampler.sample(prompt_ids, seed)
        on_answers(sum(map(len, answers)))
        return answers


def _read_eos_token_ids(model: str, tokenizer: Any) -> list[int]:
    from transformers import GenerationConfig

    try:
        config = GenerationConfig.from_pretrained(model)
    except (OSError, ValueError):  # the model comes without one
        config = GenerationConfig()
    return find_eos_token_ids(SimpleNamespace(generation_config=config), tokenizer)


def _compute_files_fingerprint(folder: Path) -> str:
    """Compute a fingerprint of the weights of a folder from the ends of their files; a name of the Hub has none."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]) if folder.is_dir() else []
    return compute_hash([[path.name, path.stat().st_size, _read_end(path)] for path in files]) if files else ""


def _read_end(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().hex()
