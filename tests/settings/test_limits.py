"""A number that no run can have is refused in one sentence, wherever it was written."""

import dataclasses
import math

import pytest
import torch
from peft import TaskType
from transformers.trainer_utils import FSDPOption

from trl_forking import ForkingGRPOConfig
from trl_forking.commands.math_arguments import LORA_TASKS, make_parser
from trl_forking.settings.limits import FSDP_WORDS
from trl_forking.settings.plain import find_field_types


NUMBERS = [
    name
    for name, types in find_field_types(ForkingGRPOConfig).items()
    if types & {int, float} and not types - {int, float, type(None)}
]
ONE_OR_MORE = (
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "num_generations"),
    *(
        "num_iterations",
        "steps_per_generation",
        "generation_batch_size",
        "max_completion_length",
        "num_generations_eval",
    ),
)
INFINITE = {"max_grad_norm", "delta", "epsilon_high", "off_policy_mask_threshold", "entropy_coef_max"}
INFINITE |= {"vllm_importance_sampling_clip_max", "vllm_server_timeout", "vllm_importance_sampling_cap"}


def check_sentence(error: pytest.ExceptionInfo, name: str, value: object) -> None:
    sentence = str(error.value)
    assert sentence.startswith(f"{name} must be ") and f"but it is {value!r}: " in sentence and "\n" not in sentence


@pytest.mark.parametrize("name", NUMBERS)
def test_nan_is_no_setting(tmp_path, name):
    with pytest.raises(ValueError) as error:
        ForkingGRPOConfig(tmp_path, use_cpu=True, **{name: math.nan})
    check_sentence(error, name, math.nan)


@pytest.mark.parametrize("name", sorted(set(NUMBERS) - INFINITE))
@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_none_either_but_for_limits(tmp_path, name, value):
    with pytest.raises(ValueError) as error:
        ForkingGRPOConfig(tmp_path, use_cpu=True, **{name: value})
    check_sentence(error, name, value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(INFINITE))
def test_a_limit_may_be_infinite(tmp_path, name):
    assert getattr(ForkingGRPOConfig(tmp_path, use_cpu=True, **{name: math.inf}), name) == math.inf


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["1e-6", True, [1], {}, torch.ones(2)], ids=str)
def test_what_is_no_number_is_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*, but it is"):
        ForkingGRPOConfig(tmp_path, use_cpu=True, **{name: value})


@pytest.mark.parametrize("name", ONE_OR_MORE)
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_sizes_are_whole_and_at_least_one(tmp_path, name, value):
    with pytest.raises(ValueError) as error:
        ForkingGRPOConfig(tmp_path, use_cpu=True, **{name: value})
    check_sentence(error, name, value)


@pytest.mark.parametrize(
    "name",
    [name for name in NUMBERS if type(None) not in find_field_types(ForkingGRPOConfig)[name]]
    + ["num_generations", "max_completion_length"],
)
def test_a_number_that_is_needed_cannot_be_none(tmp_path, name):
    with pytest.raises(ValueError) as error:
        ForkingGRPOConfig(tmp_path, use_cpu=True, **{name: None})
    check_sentence(error, name, None)


@pytest.mark.parametrize("name", ["temperature", "top_p", "repetition_penalty"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_is_divided_by_is_above_zero(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a finite number above 0(?: and at most 1)?, but it is"):
        ForkingGRPOConfig(tmp_path, use_cpu=True, **{name: value})


@pytest.mark.parametrize("weights", [[math.nan], [1.0, math.inf], ["1"], [None]])
def test_reward_weights_are_finite(tmp_path, weights):
    with pytest.raises(ValueError, match="^reward_weights must be finite numbers, but number"):
        ForkingGRPOConfig(tmp_path, use_cpu=True, reward_weights=weights)


@pytest.mark.parametrize(
    ("line", "name", "seen"),
    [
        ("num_generations: 0", "num_generations", "but it is 0"),
        ("num_generations: null", "num_generations", "but it is None"),
        ("learning_rate: .nan", "learning_rate", "but it is nan"),
        ("learning_rate: .inf", "learning_rate", "but it is inf"),
        ("learning_rate: -.inf", "learning_rate", "but it is -inf"),
        ("learning_rate: 1e400", "learning_rate", "but it is inf"),
        ("learning_rate: null", "learning_rate", "None"),
        ("temperature: 0", "temperature", "but it is 0"),
        ("num_iterations: 0", "num_iterations", "but it is 0"),
        ("max_completion_length: null", "max_completion_length", "but it is None"),
    ],
)
def test_a_yaml_file_names_the_line(tmp_path, capsys, line, name, seen):
    from trl_forking.commands.train_math import read_run

    path = tmp_path / "train.yaml"
    path.write_text(f"model_name_or_path: countdown\ndataset_name: countdown\n{line}\n")
    with pytest.raises(SystemExit) as exit_code:
        read_run(["--config", str(path)])
    output = capsys.readouterr().err
    assert exit_code.value.code == 2 and "Traceback" not in output
    assert output.startswith(f"error: {path}:3: {name}") and seen in output, output


def test_the_command_line_is_checked_too(capsys):
    for flags in (["--learning_rate", "nan"], ["--learning_rate", "1e400"], ["--num_generations", "0"]):
        with pytest.raises(SystemExit) as exit_code:
            make_parser().parse_args_and_config(flags)
        assert exit_code.value.code == 2 and f"error: command line: {flags[0][2:]} must be " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of must be a whole number of at least 1, or auto, but it is 0"),
        ({"pad_to_multiple_of": -8}, "pad_to_multiple_of must be a whole number of at least 1, or auto, but it is -8"),
        ({"pad_to_multiple_of": "some"}, "pad_to_multiple_of must be a whole number of at least 1, or auto"),
        ({"warmup_steps": 1.5}, "warmup_steps must be 0, a share between 0 and 1, or a whole number of steps"),
        ({"entropy_coef_min": 2.0}, "entropy_coef_min=2.0 is above entropy_coef_max=1.0: set it to at most 1.0"),
        ({"ddp_backend": "glo"}, "ddp_backend='glo' is not one of .*: did you mean 'gloo'"),
        ({"dataloader_multiprocessing_context": "frok"}, "dataloader_multiprocessing_context='frok' is not .*'fork'"),
        ({"train_sampling_strategy": "rand"}, "train_sampling_strategy='rand' is not .*: did you mean 'random'"),
        ({"include_num_input_tokens_seen": "some"}, "include_num_input_tokens_seen='some' is not one of"),
        ({"torch_compile_mode": "max"}, "torch_compile_mode='max' is not one of .*: did you mean 'max-autotune'"),
        ({"cache_implementation": "statc"}, "cache_implementation='statc' is not one of .*: did you mean 'static'"),
        ({"lr_scheduler_kwargs": "{bad"}, "JSON|Expecting|property name"),
        ({"debug": "everything"}, "everything"),
        ({"accelerator_config": "no.json"}, "accelerator_config: there is no file no.json"),
    ],
)
def test_values_that_upstream_takes_or_cannot_explain(tmp_path, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ForkingGRPOConfig(str(tmp_path), **settings)


def test_upstream_keeps_the_words_of_its_fields():
    """The words of these fields come from TRL's and Transformers' own choices, so that they cannot go stale."""
    metadata = {entry.name: entry.metadata for entry in dataclasses.fields(ForkingGRPOConfig)}
    for name in ("ddp_backend", "dataloader_multiprocessing_context", "train_sampling_strategy"):
        assert metadata[name].get("choices"), (
            f"Transformers lists no choices of {name} any more: put them into CHOICES."
        )


def test_the_words_of_fsdp_and_of_the_tasks_of_an_adapter_are_those_of_upstream():
    assert set(FSDP_WORDS) == {option.value for option in FSDPOption}
    assert set(LORA_TASKS) == {task.value for task in TaskType}


@pytest.mark.parametrize("value", ["full_shard auto_wrap", ["full_shard", "offload"], True, ""])
def test_fsdp_takes_words_and_a_switch(tmp_path, value):
    ForkingGRPOConfig(tmp_path, use_cpu=True, fsdp=value)


@pytest.mark.parametrize("value", ["full_shrad", "full_shard auto_warp", ["full_shard", "wrap"], "true"])
def test_a_mistyped_word_of_fsdp_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match=r"^fsdp='\w+' is not one of "):
        ForkingGRPOConfig(tmp_path, use_cpu=True, fsdp=value)
