"""What `trl-forking doctor` looks at: the batch, what a run needs, and what stands in its way."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig
from trl import ModelConfig

from .. import countdown
from ..analysis.models import naming_model
from ..forking_grpo_config import ForkingGRPOConfig
from ..run.lengths import check_lengths, find_context_length
from ..run.run_folder import check_output_folder
from ..writing.numbers import format_count
from .arguments import BUILT_IN
from .estimates import (
    GPUS,
    Gpu,
    ModelShape,
    count_lora,
    estimate_disk,
    estimate_memory,
    estimate_rollout_seconds,
    measure_shape,
)
from .eval_data import check_eval_data
from .launch import choose_launcher
from .math_arguments import (
    MathArguments,
    check_dataset_name,
    check_model_name,
    find_checkpoint,
)
from .math_loading import load_dataset, load_tokenizer
from .packages import check_packages
from .probe import describe_probe, probe_groups
from .settings import compute_batch, count, describe_batch


_SHARED_CONFIGS = ("zero3", "fsdp2", "multi_node")
_ROUNDS = 3  # of dynamic sampling, where half of the groups are replaced
_USUAL_PROMPT = 512  # tokens, where no limit is set


@dataclass
class Examination:
    """What was found out about a run: lines to print, and what stands in its way."""

    doctor: Any
    script: MathArguments
    training: ForkingGRPOConfig
    model: ModelConfig
    num_gpus: int
    obstacles: list[str] = field(default_factory=list)

    def attempt(self, check: Callable[[], Any]) -> Any:
        """Run a check, and note what it refuses."""
        try:
            return check()
        except (ValueError, ImportError, OSError) as error:
            self.obstacles.append(" ".join(str(error).split()))
            return None

    def passes(self, check: Callable[[], Any]) -> bool:
        """Run a check, and return whether it refused nothing."""
        before = len(self.obstacles)
        self.attempt(check)
        return len(self.obstacles) == before


def examine(found: Examination) -> None:
    """Print what a run needs, and note what stands in its way."""
    script, training, model = found.script, found.training, found.model
    print(f"Batch: {describe_batch(training)}")
    found.attempt(lambda: check_packages(script, training, model))
    found.attempt(lambda: choose_launcher(script, training, _count_planned_gpus(found)))
    found.attempt(lambda: check_output_folder(str(training.output_dir)))
    found.attempt(lambda: find_checkpoint(training))
    found.attempt(lambda: check_eval_data(script, training))
    is_data = found.passes(lambda: check_dataset_name(script))
    is_model = found.passes(lambda: check_model_name(model))
    config = found.attempt(lambda: load_model_config(script, training, model)) if is_model else None
    tokenizer = found.attempt(lambda: load_tokenizer(script, training, model)) if config is not None else None
    dataset = None
    if is_data and tokenizer is not None:
        dataset = found.attempt(lambda: load_dataset(script, training, model, tokenizer))
    if dataset is not None:
        print(f"Length: {describe_length(training, len(dataset))}")
    mean_length = found.doctor.mean_length
    if found.doctor.probe and dataset is not None and not found.obstacles:
        probe = found.attempt(lambda: probe_groups(script, training, model, tokenizer, dataset, found.doctor.probe))
        if probe is not None:
            print(f"Probe: {describe_probe(probe, training.dynamic_sampling)}")
            mean_length = mean_length or max(1, round(probe.mean_length))
    if config is not None:
        print(f"Context: {describe_context(config, script, training)}")
        found.attempt(
            lambda: check_lengths([], tokenizer, int(training.max_completion_length or 0), find_context_length(config))
        )
        shape = found.attempt(lambda: measure_shape(config))
        if shape is not None:
            _print_needs(found, config, shape, mean_length)


def _count_planned_gpus(found: Examination) -> int:
    """Count the GPUs of this machine, or of the one that `--gpu` names, where this machine has none."""
    if found.num_gpus or found.doctor.gpu is None or found.training.use_cpu:
        return found.num_gpus
    return max(int(found.training.world_size) // (found.script.num_machines or 1), 1)


def load_model_config(script: MathArguments, training: ForkingGRPOConfig, model: ModelConfig) -> Any:
    """Load the config of the model, without its weights."""
    name = countdown.ASSETS if model.model_name_or_path == BUILT_IN else model.model_name_or_path
    source = {"gguf_file": script.gguf_file} if script.gguf_file else {"revision": model.model_revision}
    with naming_model(str(model.model_name_or_path)):
        return AutoConfig.from_pretrained(name, trust_remote_code=training.trust_remote_code, **source)


def describe_length(args: ForkingGRPOConfig, num_prompts: int) -> str:
    """
    Say how many steps and rollouts a run has, and how often it sees the data.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> args = ForkingGRPOConfig("runs/x", max_steps=10, per_device_train_batch_size=8, use_cpu=True)
    >>> describe_length(args, num_prompts=5)
    '10 optimizer steps, 10 rollouts, 10 prompts: 2 passes over the 5 prompts of the data.'
    ```
    """
    batch = compute_batch(args)
    steps = args.max_steps
    if steps <= 0:
        per_step = max(float(batch.prompts_per_step) / args.num_iterations, 1e-9)
        steps = math.ceil(args.num_train_epochs * num_prompts / per_step)
    rollouts = math.ceil(steps / batch.steps_per_rollout)
    prompts = rollouts * batch.prompts_per_rollout
    passes = f"{prompts / num_prompts:.2g}"
    return (
        f"{count(steps, 'optimizer step')}, {count(rollouts, 'rollout')}, {count(prompts, 'prompt')}: {passes} "
        f"pass{'' if passes == '1' else 'es'} over the {count(num_prompts, 'prompt')} of the data."
    )


def describe_context(config: Any, script: MathArguments, args: ForkingGRPOConfig) -> str:
    """
    Say what of the model's context prompts and answers take.

    Example:
    ```python
    >>> from transformers import LlamaConfig
    >>> from trl_forking import ForkingGRPOConfig
    >>> args = ForkingGRPOConfig("runs/x", max_completion_length=64, use_cpu=True)
    >>> describe_context(LlamaConfig(max_position_embeddings=256), MathArguments(), args)
    'the model takes 256 tokens; answers have up to 64, so prompts can have up to 192.'
    ```
    """
    context, longest = find_context_length(config), int(args.max_completion_length or 0)
    if context is None:
        return f"the model names no limit; answers have up to {longest} tokens."
    prompt = "" if script.max_prompt_length is None else f" (max_prompt_length is {script.max_prompt_length})"
    return (
        f"the model takes {context} tokens; answers have up to {longest}, so prompts can have up to "
        f"{max(context - longest, 0)}{prompt}."
    )


def _print_needs(found: Examination, config: Any, shape: ModelShape, mean_length: int | None) -> None:
    """Print memory, time and disk, and note where there is too little."""
    script, training, model = found.script, found.training, found.model
    adapter = count_lora(config, model.lora_r) if model.use_peft else 0
    prompt_length = script.max_prompt_length or min(
        _USUAL_PROMPT,
        max((find_context_length(config) or _USUAL_PROMPT) - int(training.max_completion_length or 0), 1),
    )
    is_sharded = script.accelerate_config in _SHARED_CONFIGS
    memory = estimate_memory(shape, training, model, prompt_length, adapter, is_sharded)
    name, gpu = _find_gpu(found.doctor.gpu)
    needed = max(memory.updating, memory.generating)
    if training.use_vllm and training.vllm_mode == "colocate" and gpu is not None:
        needed = max(memory.updating, memory.states + training.vllm_gpu_memory_utilization * gpu.memory)
    print(
        f"Memory: about {format_bytes(needed)} a process for {format_count(shape.parameters)} parameters "
        f"(updating {format_bytes(memory.updating)}, generating {format_bytes(memory.generating)}). Computed."
    )
    if gpu is not None and not training.use_cpu:
        if needed > 0.9 * gpu.memory:
            found.obstacles.append(
                f"A process needs about {format_bytes(needed)}, and {name} has {format_bytes(gpu.memory)}: lower "
                "per_device_train_batch_size, use --accelerate_config zero3 on several GPUs, or --use_peft."
            )
        print(f"Time: {_describe_time(shape, training, gpu, name, mean_length)}")
    else:
        print("Time: not computed, because no known GPU is here; --gpu h100 computes for another machine.")
    disk = estimate_disk(shape, training, model, adapter)
    place = next(
        path
        for path in (Path(str(training.output_dir)).absolute(), *Path(str(training.output_dir)).absolute().parents)
        if path.exists()
    )
    free = shutil.disk_usage(place).free
    print(f"Disk: about {format_bytes(disk)} for checkpoints and model; {format_bytes(free)} are free.")
    if disk > free:
        found.obstacles.append(
            f"Checkpoints and model take about {format_bytes(disk)}, and {format_bytes(free)} are free at {place}: lower "
            "save_total_limit, raise save_steps, or set another output_dir."
        )


def _find_gpu(wanted: str | None) -> tuple[str, Gpu | None]:
    if wanted is not None:
        return wanted, GPUS[wanted]
    if not torch.cuda.is_available():
        return "", None
    properties = torch.cuda.get_device_properties(0)
    known = next((gpu for part, gpu in GPUS.items() if part in properties.name.lower()), None)
    return properties.name, None if known is None else known._replace(memory=float(properties.total_memory))


def _describe_time(shape: ModelShape, args: ForkingGRPOConfig, gpu: Gpu, name: str, mean_length: int | None) -> str:
    mean = mean_length or max(int(args.max_completion_length or 2) // 2, 1)
    seconds = estimate_rollout_seconds(shape, args, gpu, mean, _ROUNDS if args.dynamic_sampling else 1)
    each = f"about {format_seconds(seconds)} a rollout on {name}, for answers of {count(mean, 'token')} on average"
    if args.max_steps <= 0:
        return f"{each}. Computed; it may be wrong by a factor of two."
    total = seconds * math.ceil(args.max_steps / compute_batch(args).steps_per_rollout)
    return f"{each}; {format_seconds(total)} in all. Computed; it may be wrong by a factor of two."


def format_bytes(number: float) -> str:
    """
    Write a number of bytes.

    Example:
    ```python
    >>> format_bytes(2.5e9), format_bytes(3e6)
    ('2.5 GB', '3 MB')
    ```
    """
    return (
        f"{number / 1e9:,.1f} GB"
        if number >= 1e9
        else f"{max(number / 1e6, 0.1):.2g} MB"
        if number < 1e7
        else f"{number / 1e6:.0f} MB"
    )


def format_seconds(number: float) -> str:
    """
    Write a duration in its largest unit.

    Example:
    ```python
    >>> format_seconds(30), format_seconds(600), format_seconds(90_000)
    ('30 s', '10 minutes', '25 hours')
    ```
    """
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "minutes"), (172_800, 3600, "hours")):
        if number < limit:
            return f"{number / divisor:.0f} {unit}"
    return f"{number / 86_400:.1f} days"
