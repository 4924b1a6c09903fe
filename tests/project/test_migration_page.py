"""docs/migration.md: in every row both spellings give the same setting, and the masks keep the same tokens."""

import dataclasses
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from trl import GRPOConfig, GRPOTrainer, ModelConfig
from trl.scripts.grpo import GRPOScriptArguments

from trl_forking import ForkingGRPOConfig
from trl_forking.commands.math_arguments import MathArguments, make_parser
from trl_forking.commands.recipes import find_examples
from trl_forking.selection.tokens import select_tokens


PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
STEPS_PER_ROLLOUT = 16  # of the paper's script: 512 prompts of a rollout, 32 of an optimizer step


def read_rows(title: str) -> list[tuple[str, str]]:
    """Read the first two columns of the tables in a section."""
    section = re.split(r"^## ", PAGE.split(f"## {title}\n")[1], flags=re.MULTILINE)[0]
    return re.findall(r"^\| `(.+?)` \| `(.+?)` \|", section, flags=re.MULTILINE)


def read_call(text: str) -> dict:
    return eval(f"dict({text})", {"__builtins__": {"dict": dict}})


# TRL, which runs here

# What is equal before a row changes something.
BASE = {
    "output_dir": "runs/x",
    "use_cpu": True,
    "report_to": "none",
    "top_entropy_quantile": 1.0,
    "epsilon_high": None,
}


@pytest.mark.parametrize(("theirs", "ours"), read_rows("From TRL"))
def test_rows_of_trl(theirs, ours):
    theirs, ours = read_call(theirs), read_call(ours)
    if theirs.get("bf16"):  # it needs a GPU, or a machine that says so
        assert ours == theirs
        return
    plain = GRPOConfig(**{**BASE, "bf16": False} | theirs)
    forking = ForkingGRPOConfig(**{**BASE, "bf16": False} | ours)
    assert set(ours) - set(theirs) <= {"kl_tokens"}
    for field in dataclasses.fields(GRPOConfig):
        if field.name not in ("output_dir", "logging_dir", "run_name", "hub_token", "accelerator_config"):
            assert getattr(forking, field.name) == getattr(plain, field.name), field.name


def test_defaults_of_trl_are_those_of_the_table():
    defaults = {field.name: field.default for field in dataclasses.fields(GRPOConfig)}
    table = PAGE.split("| TRL 1.16, not set |")[1].split("\n\n")[0]
    rows = [read_call(call) for call in re.findall(r"^\| `(.+?)` \|", table, flags=re.MULTILINE)]
    settings = {name: value for row in rows for name, value in row.items() if name != "bf16"}
    assert settings == {name: defaults[name] for name in settings} and len(settings) == 3
    ours = {field.name: field.default for field in dataclasses.fields(ForkingGRPOConfig)}
    assert {name for name in ours if name in defaults and ours[name] != defaults[name]} <= {*settings, "bf16"}


def test_flags_of_trls_command_that_ours_does_not_have_are_named():
    flags = {
        field.name for config in (GRPOScriptArguments, GRPOConfig, ModelConfig) for field in dataclasses.fields(config)
    }
    missing = (flags | {"datasets"}) - {action.dest for action in make_parser()._actions}
    named = re.findall(r"`(\w+)`", PAGE.split("On the command line, `trl grpo`")[1].split("**Defaults")[0])
    assert missing == {"reward_funcs", "reward_model_name_or_path", "datasets"} and missing <= set(named)


def test_the_block_has_the_settings_that_are_compared_with_trl():
    """tests/trainer/test_trainer.py compares the gradients of these settings for every loss type."""
    block = re.search(r"### TRL's mask, exactly.*?```python\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    args = eval(block, {"ForkingGRPOConfig": ForkingGRPOConfig})
    assert (args.selection_scope, args.loss_normalizer, args.count_zero_advantage) == ("micro_batch", "all", True)
    assert (args.sparse_update, args.epsilon_high, args.top_entropy_quantile) == (False, None, 0.2)


# ms-swift and verl, whose names are written down here


SWIFT = {
    "log_entropy": lambda value: {"log_entropy": value, "log_completions": value},
    "beta": lambda value: {"beta": value, "kl_tokens": "all" if value else None},
    "dynamic_sample": lambda value: {"dynamic_sampling": value},
    "max_resample_times": lambda value: {"dynamic_sampling_max_rounds": value},
    "overlong_filter": lambda value: {"mask_truncated_completions": value},
    "soft_cache_length": lambda value: {"soft_overlong_cache": value},
    "sleep_level": lambda value: {"vllm_enable_sleep_mode": value > 0},
    "rollout_importance_sampling_mode": lambda value: {
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": value,
    },
    "rollout_importance_sampling_threshold": lambda value: {"vllm_importance_sampling_clip_max": value},
    "model": lambda value: {"model_name_or_path": value},
    "dataset": lambda value: {"dataset_name": value},
    "lora_rank": lambda value: {"use_peft": True, "lora_r": value},
}
"""Arguments of ms-swift 4.6.0 that have another name here. All others are fields of the same name."""


VERL = {
    "entropy_top_ratio": lambda value: {"top_entropy_quantile": value},
    "clip_ratio_low": lambda value: {"epsilon": value},
    "clip_ratio_high": lambda value: {"epsilon_high": value},
    "clip_ratio_c": lambda value: {"delta": value},
    "loss_agg_mode": lambda value: {"loss_type": {"token-mean": "dapo"}[value], "loss_normalizer": "kept"},
    "use_kl_loss": lambda value: {"beta": float(value)},
    "use_kl_in_reward": lambda value: {"beta": float(value)},
    "entropy_coeff": lambda value: {"entropy_coef": value},
    "adv_estimator": lambda value: {"scale_rewards": {"grpo": "group"}[value]},
    "enable": lambda value: {"dynamic_sampling": value},
    "max_num_gen_batches": lambda value: {"dynamic_sampling_max_rounds": value},
    "train_batch_size": lambda value: {"answers of a rollout": value * 16},
    "n": lambda value: {"num_generations": value},
    "ppo_mini_batch_size": lambda value: {"answers of a step": value * 16},
    "use_dynamic_bsz": lambda value: {"balance_micro_batches": value},
    "ppo_max_token_len_per_gpu": lambda value: {"max_tokens_per_micro_batch": value},
    "use_remove_padding": lambda value: {"sparse_update": value},
    "enable_gradient_checkpointing": lambda value: {"gradient_checkpointing": value},
    "path": lambda value: {"model_name_or_path": value},
    "lr": lambda value: {"learning_rate": float(value)},
    "lr_warmup_steps": lambda value: {"warmup_steps": value},
    "weight_decay": lambda value: {"weight_decay": value},
    "grad_clip": lambda value: {"max_grad_norm": value},
    "max_prompt_length": lambda value: {"max_prompt_length": value},
    "max_response_length": lambda value: {"max_completion_length": value},
    "len": lambda value: {"soft_overlong_cache": value},
    "temperature": lambda value: {"temperature": value},
    "top_p": lambda value: {"top_p": value},
    "top_k": lambda value: {"top_k": max(value, 0)},
    "name": lambda value: {"use_vllm": value == "vllm"},
    "tensor_model_parallel_size": lambda value: {"vllm_tensor_parallel_size": value},
    "gpu_memory_utilization": lambda value: {"vllm_gpu_memory_utilization": value},
    "save_freq": lambda value: {"save_steps": value * STEPS_PER_ROLLOUT},
    "test_freq": lambda value: {"eval_steps": value * STEPS_PER_ROLLOUT},
    "resume_mode": lambda value: {"resume_from_checkpoint": value == "auto"},
    "nnodes": lambda value: {"num_machines": value},
}
"""Arguments of the paper's script, by the last part of their names."""


@pytest.fixture(scope="module")
def actions() -> dict:
    """The flags of `trl-forking grpo`, by name."""
    parser = make_parser()
    assert [*parser.dataclass_types] == [MathArguments, ForkingGRPOConfig, ModelConfig]
    return {action.dest: action for action in parser._actions}


def convert(settings: dict[str, str], actions: dict) -> dict:
    """Read values as the command line does. A name that is no flag, or a value that is no choice, is an error."""
    converted = {}
    for name, text in settings.items():
        action = actions[name]
        value = action.type(text) if action.type else text
        converted[name] = yaml.safe_load(value) if value in ("true", "false") else value
        assert not action.choices or converted[name] in action.choices, name
    return converted


def read_flags(text: str) -> dict[str, str]:
    words = shlex.split(text)
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


@pytest.mark.parametrize(("theirs", "ours"), read_rows("From ms-swift"))
def test_rows_of_ms_swift(theirs, ours, actions):
    ((name, text),) = read_flags(theirs).items()
    expected = SWIFT.get(name, lambda value: {name: value})(yaml.safe_load(text))
    found = convert(read_flags(ours), actions)
    assert found == {key: value for key, value in expected.items() if value is not None}
    check_accepted(found)


@pytest.mark.parametrize(("theirs", "ours"), read_rows("From the paper's verl script"))
def test_rows_of_verl(theirs, ours, actions):
    name, _, text = theirs.partition("=")
    expected = VERL[name.rpartition(".")[2]](yaml.safe_load(text))
    found = convert(dict(part.split(": ") for part in ours.split(", ")), actions)
    check_accepted(found)
    answers = found.get("num_processes", 0) * found.get("per_device_train_batch_size", 0)
    found |= {"answers of a rollout": answers * found.get("steps_per_generation", 0)}
    found |= {"answers of a step": answers * found.get("gradient_accumulation_steps", 0)}
    assert {key: found.get(key) for key in expected} == expected


def check_accepted(settings: dict) -> None:
    """The config takes the settings together with those that such a run has."""
    fields = {field.name for field in dataclasses.fields(ForkingGRPOConfig)}
    own = {name: value for name, value in settings.items() if name in fields}
    own.pop("max_tokens_per_micro_batch", None)  # it belongs to a length
    ForkingGRPOConfig(**{"output_dir": "runs/x", "use_cpu": True, "per_device_train_batch_size": 16} | own)


def test_the_recipe_has_what_the_page_says():
    """But for the rows whose note says what the recipe has."""
    recipe = yaml.safe_load((find_examples() / "recipes" / "paper_qwen3_14b.yaml").read_text())
    other = {"warmup_steps", "vllm_tensor_parallel_size", "vllm_gpu_memory_utilization", "num_machines"}
    for _, ours in read_rows("From the paper's verl script"):
        for name, value in yaml.safe_load("{" + ours + "}").items():
            if name in recipe and name not in other:
                assert recipe[name] == value, name


# The masks themselves


@pytest.mark.parametrize("num_tokens", [1, 2, 7, 10, 13, 64, 101, 256])
def test_the_masks_of_all_three_keep_the_same_tokens(num_tokens):
    """TRL's function as it is; those of ms-swift and the paper's code as they are described, without ties."""
    generator = torch.Generator().manual_seed(num_tokens)
    entropies = torch.randperm(num_tokens, generator=generator).double()[None] / 8
    mask = torch.ones(1, num_tokens, dtype=torch.bool)
    ours = select_tokens(entropies.float(), mask, 0.2)
    alone = SimpleNamespace(pad_across_processes=lambda values, **_: values, gather=lambda values: values)
    trl = GRPOTrainer.get_high_entropy_mask(SimpleNamespace(accelerator=alone), entropies.float(), mask, 1 - 0.2)
    swift = entropies >= torch.nanquantile(entropies.flatten(), 1 - 0.2)
    verl = torch.zeros(num_tokens, dtype=torch.bool)
    verl[torch.topk(entropies[0], max(1, int(num_tokens * 0.2 + 0.9999))).indices] = True
    assert torch.equal(ours, trl) and torch.equal(ours, swift) and torch.equal(ours[0], verl)


def test_a_wrong_row_is_found(actions):
    with pytest.raises(KeyError):
        convert({"top_entropy_quantil": "0.2"}, actions)
    assert convert({"top_k": "-1"}, actions) != VERL["top_k"](-1)
    assert len(read_rows("From TRL")) > 12
    assert len(read_rows("From ms-swift")) > 25
    assert len(read_rows("From the paper's verl script")) > 30
