"""What users pass is plain from the config on, and whatever is written of it can be read back."""

import json
import math
import pickle
from collections import OrderedDict, UserDict
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers.trainer_utils import SaveStrategy

from helpers.tiny import build_trainer
from trl_forking import ForkingGRPOConfig
from trl_forking.card.run_files import read_record
from trl_forking.commands.math_arguments import make_parser
from trl_forking.commands.settings import format_settings
from trl_forking.settings.plain import find_field_types, make_plain, normalize


class Loss(StrEnum):
    DAPO = "dapo"


class Sizes(IntEnum):
    FOUR = 4


class Duck:
    """A number of a library that registers nothing."""

    def __float__(self):
        return 0.25


NUMBERS = {
    "np.int64": np.int64(4), "np.uint8": np.uint8(4), "np.float32": np.float32(4), "np.float64": np.float64(4),
    "np.longdouble": np.longdouble(4), "np.float16": np.float16(4), "0-d array": np.array(4), "tensor": torch.tensor(4),
    "half tensor": torch.tensor(4, dtype=torch.bfloat16), "Fraction": Fraction(4), "Decimal": Decimal(4),
    "IntEnum": Sizes.FOUR, "float": 4.0,
}  # fmt: skip


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_whole_number_of_any_library_is_an_int(tmp_path, kind):
    value = NUMBERS[kind]
    names = ("num_generations", "num_iterations", "gradient_accumulation_steps", "max_steps", "seed")
    config = ForkingGRPOConfig(tmp_path, use_cpu=True, **dict.fromkeys(names, value))
    assert [(type(getattr(config, name)), getattr(config, name)) for name in names] == [(int, 4)] * len(names)
    assert type(config.generation_batch_size) is type(config.steps_per_generation) is int


@pytest.mark.parametrize(
    "value",
    [
        *(
            np.float32(0.25),
            np.float64(0.25),
            np.array(0.25),
            torch.tensor(0.25),
            torch.tensor(0.25, dtype=torch.float16),
        ),
        *(Fraction(1, 4), Decimal("0.25"), Duck(), np.longdouble(0.25)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fraction_of_any_library_is_a_float(tmp_path, value):
    config = ForkingGRPOConfig(tmp_path, use_cpu=True, top_entropy_quantile=value, learning_rate=value)
    assert type(config.top_entropy_quantile) is type(config.learning_rate) is float
    assert config.top_entropy_quantile == config.learning_rate == 0.25


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [np.int64(1), (np.float32(0.5),)]}, {"a": [1, (0.5,)]}),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.array([np.int64(1), None, "a"], dtype=object), [1, None, "a"]),
        ({np.int64(3): np.bool_(True), np.str_("a"): np.str_("b")}, {3: True, "a": "b"}),
        (UserDict(a=np.int64(1)), {"a": 1}),
        (range(3), [0, 1, 2]),
        (np.array(["a", "b"]), ["a", "b"]),
    ],
    ids=str,
)
def test_values_in_containers_are_plain_too(value, plain):
    normalized = normalize(value)
    assert normalized == plain and repr(normalized) == repr(plain)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 0.5, "a", b"a", [1, 2], (1, 2), {"a": {"b": [1]}}, OrderedDict(a=1), torch.bfloat16),
        *(SaveStrategy.STEPS, Path("a"), torch.ones(2), ForkingGRPOConfig, print, 1j, {1, 2}),
    ],
    ids=str,
)
def test_everything_else_stays_the_object_it_is(value):
    assert normalize(value) is value


# All settings -------------------------------------------------------------------------------------------------------------

# Fields whose values have to fit the machine, other fields or a server.
FITTING = {
    "output_dir": ["runs/a", Path("runs/a"), np.str_("runs/a")],
    "max_steps": [3, np.int64(3), Fraction(3)],
    "lr_scheduler_type": ["cosine", np.str_("cosine")],
    "lr_scheduler_kwargs": [{"num_cycles": np.float32(0.5)}, '{"num_cycles": 0.5}'],
    "optim": ["sgd", np.str_("sgd")],
    "optim_target_modules": [["a"], ("a",), np.array(["a", "b"]), "a"],
    "per_device_train_batch_size": [8, np.int32(8), Decimal(8)],
    "per_device_eval_batch_size": [8, np.int32(8)],
    "logging_strategy": ["epoch", np.str_("epoch")], "eval_strategy": ["no"], "save_strategy": ["epoch", SaveStrategy.NO],
    "include_num_input_tokens_seen": ["all", True], "log_level": ["info"], "log_level_replica": ["info"],
    "report_to": ["none", ["tensorboard"], ("tensorboard",), np.array(["tensorboard"])],
    "trackio_static_space_id": [False], "hub_strategy": ["end"], "train_sampling_strategy": ["sequential"],
    "accelerator_config": [{"split_batches": False, "even_batches": False}],
    "parallelism_config": [None], "dataloader_multiprocessing_context": ["spawn"], "ddp_backend": [None],
    "fsdp": [None], "fsdp_config": [None], "deepspeed": [None], "debug": ["underflow_overflow", ["underflow_overflow"]],
    "reward_weights": [[1, 0.5], (1.0, 0.5), np.array([1.0, 0.5]), torch.tensor([1.0, 0.5]), [Fraction(1, 2)], [np.int8(1)]],
    "model_init_kwargs": [{"dtype": torch.bfloat16, "attn": np.str_("eager")}, '{"dtype": "bfloat16"}', {"a": Path("b")}],
    "generation_kwargs": [{"suppress_tokens": np.array([3, 4]), "stop_strings": ["a\ud83d"]}],
    "gradient_path": ["forks", np.str_("full")], "gradient_path_window": [0, np.int64(0)], "kl_tokens": ["all"],
    "token_rule": ["trl_forking.selection.rules.advantage.gradient_norm", None], "top_entropy_quantile_end": [0.5, np.float32(0.25), Fraction(1, 3), None],
    "max_tokens_per_micro_batch": [4096, np.int64(4096), Fraction(4096), None],
    "max_completion_length": [9, np.int64(9)], "num_generations": [4, np.int64(4), Fraction(4)], "num_generations_eval": [4, np.int64(4)],
    "generation_batch_size": [16, np.int64(16)], "steps_per_generation": [2, np.int64(2)],
    "pad_to_multiple_of": [8, np.int64(8), "16", None], "vllm_mode": ["server"],
    "vllm_importance_sampling_clip_min": [0.5, np.float32(0.5)],
    "importance_sampling_level": ["sequence", np.str_("sequence")], "scale_rewards": ["batch", "none", True, np.bool_(False)],
    "multi_objective_aggregation": ["normalize_then_sum"], "loss_type": ["grpo", Loss.DAPO, np.str_("bnpo")],
    "vllm_importance_sampling_mode": ["token_mask"], "token_selection": ["random", np.str_("low_entropy")],
    "selection_scope": ["sequence"], "loss_normalizer": ["all"], "top_entropy_quantile": [0.5, np.float32(0.25), Fraction(1, 3)],
    "temperature": [0.7, np.float32(0.5), Decimal("0.7")], "num_train_epochs": [2, 0.5, np.float32(0.5)],
    "vllm_model_impl": ["transformers", np.str_("vllm")], "cache_implementation": ["static", np.str_("dynamic")], "torch_compile_mode": ["default", np.str_("max-autotune")], "torch_compile_backend": ["eager", np.str_("inductor")],
    "optim_args": ["rank=1", np.str_("rank=1,scale=2")],
    "adam_beta1": [0.5, np.float32(0.5)], "adam_beta2": [0, 0.5, Fraction(1, 2)],
    "warmup_steps": [3, 0.5, np.float32(0.5)], "use_transformers_paged": [False], "bf16": [False, np.bool_(False)],
}  # fmt: skip
NEEDING = {"beta": {"top_entropy_quantile": 1.0}, "entropy_coef": {"top_entropy_quantile": 1.0}}
NEEDING |= {"use_adaptive_entropy": {"top_entropy_quantile": 1.0}, "log_entropy": {"log_completions": True}}
NEEDING |= {"kl_tokens": {"beta": 0.01}}
NEEDING |= {"log_completions_hub_repo": {"log_completions": True}}
NEEDING |= {
    "dataloader_prefetch_factor": {"dataloader_num_workers": 1},
    "load_best_model_at_end": {"eval_strategy": "steps"},
}
# What a machine without a GPU, or TRL in any form, refuses.
REFUSED = {"fp16", "bf16_full_eval", "tf32", "auto_find_batch_size", "vllm_importance_sampling_cap", "torch_compile"}


def list_values(name: str, types: frozenset[type]) -> list[object]:
    """Values of every type that a field takes, from every library."""
    if name in FITTING or name in REFUSED:
        return FITTING.get(name, [])
    values: list[object] = []
    if bool in types:
        values += [True, False, np.bool_(True)]
    if int in types:
        values += [2, np.int64(2), np.float32(2), Fraction(2), torch.tensor(2)]
    if float in types:
        values += [
            0.5,
            1,
            np.float32(0.5),
            np.float64(0.5),
            Fraction(1, 2),
            Decimal("0.5"),
            torch.tensor(0.5),
            np.array(0.5),
        ]
    if dict in types:
        values += [{"a": 1, "b": {"c": [0.5, None, "d"]}}, {"a": np.int64(1), "b": (np.float32(0.5), torch.tensor(3))}]
    if list in types:
        values += [["a", "b"], ("a",), [np.str_("a")]]
    if str in types and dict not in types:
        values += ["some text", np.str_("some text"), 'quote"s: - #\n| and \u2028 ü']
    return values + ([None] if type(None) in types else [])


VALUES = {name: list_values(name, types) for name, types in find_field_types(ForkingGRPOConfig).items()}
ALONE = {*FITTING, *NEEDING, "hub_token", "logging_steps", "save_steps", "eval_steps", "include_for_metrics"}


def list_cases() -> list[dict[str, object]]:
    """One setting at a time where it has to fit others, and else one value of each field together."""
    alone = [{name: value} for name in VALUES if name in ALONE for value in VALUES[name]]
    rest = {name: values for name, values in VALUES.items() if name not in ALONE}
    longest = max(map(len, rest.values()))
    return alone + [{name: values[i] for name, values in rest.items() if i < len(values)} for i in range(longest)]


def build(tmp_path, settings: dict[str, object]) -> ForkingGRPOConfig:
    needed = {name: value for field in settings for name, value in NEEDING.get(field, {}).items()}
    return ForkingGRPOConfig(
        **({"output_dir": str(tmp_path), "report_to": "none"} | needed | settings | {"use_cpu": True})
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(4))
def test_every_value_of_every_field_is_written_and_read_back(tmp_path, part):
    """Into a pickle, into JSON as trackers get it, into YAML as `--config` reads it, and into a checkpoint."""
    for settings in list_cases()[part::4]:
        check_written(build(tmp_path, settings), settings, tmp_path)


def check_written(config: ForkingGRPOConfig, settings: dict[str, object], tmp_path) -> None:
    again, written = pickle.loads(pickle.dumps(config)), json.loads(config.to_json_string())
    repeated = yaml.safe_load(format_settings(config))
    for name in settings:
        value = make_plain(getattr(config, name))
        assert make_plain(getattr(again, name)) == value or name == "hub_token", name
        assert written[name] == value or name in ("accelerator_config", "hub_token"), name  # in full, and not at all
        assert repeated.get(name) in (value, None), name
    torch.save(make_plain({name: getattr(config, name) for name in settings}), tmp_path / "progress.pt")
    torch.load(tmp_path / "progress.pt", weights_only=True)


def test_every_field_has_values():
    assert {name for name, values in VALUES.items() if values} | REFUSED == set(VALUES)
    assert sum(map(len, VALUES.values())) > 400


@pytest.mark.filterwarnings("ignore")
def test_the_yaml_of_a_run_gives_the_same_settings_again(tmp_path):
    """As `trl-forking grpo` writes and reads it."""
    given = {
        "accelerator_config": '{"split_batches": false, "even_batches": false}', "debug": "underflow_overflow",
        "lr_scheduler_kwargs": '{"num_cycles": 2}', "generation_kwargs": '{"stop_strings": ["a: b", "c"]}',
        "reward_weights": "0.5", "lr_scheduler_type": "cosine", "epsilon_high": "inf", "max_grad_norm": "inf",
        "optim_target_modules": "a", "report_to": "tensorboard", "seed": "7", "save_strategy": "epoch",
    }  # fmt: skip
    flags = [part for name, value in given.items() for part in (f"--{name}", value)]
    first = make_parser().parse_args_and_config(["--output_dir", str(tmp_path), "--use_cpu", *flags])
    (tmp_path / "again.yaml").write_text(format_settings(*first))
    second = make_parser().parse_args_and_config(["--config", str(tmp_path / "again.yaml")])
    assert second[1].to_dict() == first[1].to_dict() and second[1].accelerator_config.even_batches is False
    assert math.isinf(second[1].epsilon_high) and second[2] == first[2]


SCALARS = {
    "num_generations": np.int64(4), "num_iterations": np.int64(1), "per_device_train_batch_size": np.int64(16),
    "gradient_accumulation_steps": np.int32(2), "steps_per_generation": np.uint8(4), "seed": torch.tensor(42),
    "top_entropy_quantile": np.float32(0.25), "learning_rate": Decimal("0.001"), "temperature": Fraction(1),
    "reward_weights": np.array([1.0]), "loss_type": Loss.DAPO, "max_steps": np.float64(3), "save_steps": np.int64(1),
}  # fmt: skip


def run(folder, **settings):
    trainer = build_trainer(
        str(folder),
        **{"rollout_func": None, "save_strategy": "steps", "optim": "adamw_torch", "learning_rate": 1e-3} | settings,
    )
    return trainer


@pytest.mark.slow
def test_a_run_with_numbers_of_other_libraries_resumes_and_has_its_card(tmp_path):
    plain = {name: make_plain(value) for name, value in SCALARS.items()}
    trainers = [run(tmp_path / name, **settings) for name, settings in (("plain", plain), ("foreign", SCALARS))]
    for trainer in trainers:
        torch.manual_seed(0)
        trainer.train()
    for step in (1, 2):  # within a rollout, and at its end
        resumed = run(tmp_path / f"resumed-{step}", **SCALARS)
        resumed.train(resume_from_checkpoint=str(tmp_path / "foreign" / f"checkpoint-{step}"))
        trainers.append(resumed)
    weights = [torch.cat([p.detach().flatten() for p in trainer.model.parameters()]) for trainer in trainers]
    assert all(torch.equal(weights[0], other) for other in weights[1:])
    records = [read_record(tmp_path / name) for name in ("plain", "foreign")]
    assert records[0]["forking"] == records[1]["forking"] and records[0]["settings"] == records[1]["settings"]
    assert (tmp_path / "foreign" / "checkpoint-3" / "forking_progress_0.pt").is_file()
    progress = torch.load(tmp_path / "foreign" / "checkpoint-1" / "forking_progress_0.pt", weights_only=True)
    assert progress["rollout"] is not None


def test_a_scalar_that_is_set_after_the_config_was_made_is_written_plain(tmp_path):
    trainer = run(tmp_path, max_steps=1, per_device_train_batch_size=64, gradient_accumulation_steps=1)
    trainer.args.top_entropy_quantile = np.float32(0.25)
    trainer.args.num_iterations = np.int64(1)
    trainer.train()
    torch.load(tmp_path / "checkpoint-1" / "forking_progress_0.pt", weights_only=True)
    assert read_record(tmp_path)["forking"]["top_entropy_quantile"] == 0.25
