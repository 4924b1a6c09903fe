"""Memory, time and disk that a run needs, by the arithmetic of docs/recipes.md. Computed, not measured."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from trl import ModelConfig


if TYPE_CHECKING:
    from ..forking_grpo_config import ForkingGRPOConfig


_ENGINE_SHARE = 0.5  # of the memory's bandwidth while generating
_SMALL = 4e9  # weights of a model whose matrix products are too small for a GPU
_PEAK_SHARE_SMALL, _PEAK_SHARE = 0.23, 0.34  # of the GPU's peak while updating, as docs/recipes.md measured
_LOGITS = 0.5e9  # bytes: one block of logits
_PASSES = 5  # scoring, forward, recomputation, and backward, which counts twice


class Gpu(NamedTuple):
    """
    A kind of GPU.

    Attributes:
        memory (`float`): bytes.
        flops (`float`): operations a second in bfloat16, at its peak.
        bandwidth (`float`): bytes a second of its memory.

    Example:
    ```python
    >>> GPUS["h100"].memory
    80000000000.0
    ```
    """

    memory: float
    flops: float
    bandwidth: float


GPUS = {
    "h200": Gpu(141e9, 989e12, 4.8e12),
    "h100": Gpu(80e9, 989e12, 3.35e12),
    "a100": Gpu(80e9, 312e12, 2.0e12),
    "l40s": Gpu(48e9, 362e12, 0.864e12),
    "4090": Gpu(25.8e9, 165e12, 1.0e12),
}
"""Kinds of GPU by a part of their names."""


@dataclass(frozen=True)
class ModelShape:
    """
    Sizes of a model that memory and time follow from.

    Attributes:
        parameters (`int`): number of weights.
        head (`int`): weights of the output embedding.
        layers, width (`int`): number of layers, and their width.
        attention_width (`int`): heads times the channels of a head.
        cache (`int`): bytes of the keys and values of a token.

    Example:
    ```python
    >>> ModelShape(parameters=1_000, head=100, layers=2, width=8, attention_width=8, cache=64).layers
    2
    ```
    """

    parameters: int
    head: int
    layers: int
    width: int
    attention_width: int
    cache: int


def measure_shape(config: Any) -> ModelShape:
    """
    Measure a model by its config, without its weights.

    Args:
        config ([`~transformers.PretrainedConfig`]):
            Config of a causal language model.

    Returns:
        [`ModelShape`]

    Example:
    ```python
    >>> from transformers import LlamaConfig
    >>> sizes = {"vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    >>> measure_shape(LlamaConfig(**sizes, num_hidden_layers=1)).head
    80
    ```
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    channels = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    key_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return ModelShape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        head=model.get_output_embeddings().weight.numel(),
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        attention_width=text.num_attention_heads * channels,
        cache=text.num_hidden_layers * 2 * key_heads * channels * 2,
    )


def count_lora(config: Any, rank: int) -> int:
    """
    Count the weights of an adapter on all linear layers, by the config of its model.

    Example:
    ```python
    >>> from transformers import LlamaConfig
    >>> sizes = {"vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    >>> count_lora(LlamaConfig(**sizes, num_hidden_layers=1), rank=1)
    112
    ```
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linear = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part is not head]
    return sum(rank * (part.in_features + part.out_features) for part in linear)


class Memory(NamedTuple):
    """
    Bytes that a process needs.

    Attributes:
        states (`float`): weights, gradients and the optimizer.
        updating (`float`): all while the weights are updated.
        generating (`float`): all while answers are generated; without the share of a GPU that vLLM takes.

    Example:
    ```python
    >>> Memory(1.0, 3.0, 2.0).updating
    3.0
    ```
    """

    states: float
    updating: float
    generating: float


def estimate_memory(
    shape: ModelShape,
    args: "ForkingGRPOConfig",
    model_args: ModelConfig,
    prompt_length: int,
    num_adapter: int = 0,
    is_sharded: bool = False,
) -> Memory:
    """
    Estimate the memory of a process by the sums of docs/recipes.md, "What the estimates are made of".

    Args:
        shape ([`ModelShape`]):
            Sizes of the model.
        args ([`ForkingGRPOConfig`]):
            Settings, resolved.
        model_args ([`~trl.ModelConfig`]):
            Type of the weights, and whether there is an adapter.
        prompt_length (`int`):
            Largest number of tokens of a prompt.
        num_adapter (`int`, *optional*, defaults to `0`):
            Weights of the adapter.
        is_sharded (`bool`, *optional*, defaults to `False`):
            Whether the states are divided among the processes, as under ZeRO-3 and FSDP.

    Returns:
        [`Memory`]

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> shape = ModelShape(parameters=1_000, head=100, layers=2, width=8, attention_width=8, cache=64)
    >>> args = ForkingGRPOConfig("runs/x", per_device_train_batch_size=8, max_completion_length=4, use_cpu=True)
    >>> estimate_memory(shape, args, ModelConfig(dtype="float32"), prompt_length=4).states
    16000.0
    ```
    """
    tokens = args.per_device_train_batch_size * (prompt_length + int(args.max_completion_length or 0))
    bytes_each = 4 if model_args.dtype == "float32" else 2
    head = 4.0 * shape.head  # its gradient is summed in float32
    gathered = 0.0
    if model_args.use_peft:
        head, base = 0.0, float(bytes_each) * shape.parameters
        if model_args.load_in_4bit:
            base = 0.52 * (shape.parameters - 2 * shape.head) + 4.0 * shape.head
        states = base + 16.0 * num_adapter
    elif bytes_each == 4:
        # With bfloat16 there are the copies that the forward pass works on.
        states = (18.0 if args.bf16 else 16.0) * shape.parameters / (args.world_size if is_sharded else 1)
    else:
        states = 16.0 * shape.parameters / (args.world_size if is_sharded else 1)
        gathered = 2.0 * shape.head if is_sharded else 0.0
    inputs = float(shape.layers * tokens * shape.width * bytes_each)
    updating = (
        states + inputs + 34.0 * tokens * shape.width + gathered + head + min(_LOGITS, 4.0 * tokens * shape.head)
    )
    answers = args.per_device_train_batch_size * args.steps_per_generation
    caches = 0.0 if args.use_vllm else float(answers * (prompt_length + args.max_completion_length) * shape.cache)
    return Memory(states, updating, states + caches)


def estimate_rollout_seconds(
    shape: ModelShape, args: "ForkingGRPOConfig", gpu: Gpu, mean_length: float, rounds: int
) -> float:
    """
    Estimate the seconds of a rollout and the update on it, by the sums of docs/recipes.md.

    Args:
        shape ([`ModelShape`]):
            Sizes of the model.
        args ([`ForkingGRPOConfig`]):
            Settings, resolved.
        gpu ([`Gpu`]):
            The GPU of each process.
        mean_length (`float`):
            Mean number of tokens of an answer.
        rounds (`int`):
            Rounds of generation, 1 without dynamic sampling. With more, half of the groups are taken to be replaced.

    Returns:
        `float`: seconds.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> shape = ModelShape(10**9, 10**8, 16, 2048, 2048, 65_536)
    >>> args = ForkingGRPOConfig("runs/x", per_device_train_batch_size=8, use_cpu=True)
    >>> 0 < estimate_rollout_seconds(shape, args, GPUS["h100"], mean_length=256, rounds=1) < 60
    True
    ```
    """
    engine = args.vllm_tensor_parallel_size if args.use_vllm else 1
    num_engines = args.world_size / engine
    answers = args.generation_batch_size
    weights, bandwidth = 2 * shape.parameters, engine * gpu.bandwidth * _ENGINE_SHARE
    memory = gpu.memory * (args.vllm_gpu_memory_utilization if args.use_vllm else 0.9)
    room = max(0.9 * (memory * engine - weights), shape.cache * mean_length)
    active = min(room / (shape.cache * mean_length), answers / num_engines)
    per_token = (weights + active * mean_length / 2 * shape.cache) / bandwidth
    generated = answers * (2 if rounds > 1 else 1)
    generating = generated * mean_length / (active / per_token * num_engines)
    waiting = rounds * args.max_completion_length * weights / bandwidth
    attention = 4 * shape.layers * shape.attention_width * mean_length / 2
    work = answers * mean_length * _PASSES * (2 * shape.parameters + attention) * args.num_iterations
    share = _PEAK_SHARE_SMALL if shape.parameters < _SMALL else _PEAK_SHARE
    return generating + waiting + work / (args.world_size * gpu.flops * share)


def estimate_disk(
    shape: ModelShape, args: "ForkingGRPOConfig", model_args: ModelConfig, num_adapter: int = 0
) -> float:
    """
    Estimate the bytes of all checkpoints that a run keeps, and of its final model.

    Args:
        shape ([`ModelShape`]):
            Sizes of the model.
        args ([`ForkingGRPOConfig`]):
            Settings, resolved.
        model_args ([`~trl.ModelConfig`]):
            Type of the weights, and whether there is an adapter.
        num_adapter (`int`, *optional*, defaults to `0`):
            Weights of the adapter.

    Returns:
        `float`: bytes. A checkpoint has the trained weights and two moments of the optimizer, each as large as they are.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> shape = ModelShape(parameters=1_000, head=100, layers=2, width=8, attention_width=8, cache=64)
    >>> args = ForkingGRPOConfig("runs/x", max_steps=10, save_steps=5, use_cpu=True)
    >>> estimate_disk(shape, args, ModelConfig(dtype="float32"))
    28000.0
    ```
    """
    trained = num_adapter or shape.parameters
    weights = trained * (2.0 if model_args.dtype in ("bfloat16", "float16") else 4.0)
    if args.save_strategy == "no":
        return weights
    each = args.save_steps if args.save_steps >= 1 else max(args.save_steps * args.max_steps, 1)
    saves = -(-args.max_steps // int(each)) if args.max_steps > 0 and each >= 1 else 1
    kept = (
        min(saves, args.save_total_limit + 1) if args.save_total_limit else saves
    )  # one more while the next is written
    moments = 0.0 if args.save_only_model else 2 * weights
    return kept * (weights + moments) + weights
