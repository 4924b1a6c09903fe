"""Mappings, pairs and schedules that no run can have are refused in one sentence, before anything is loaded."""

import pytest
from accelerate.utils.dataclasses import DynamoBackend
from transformers.trainer_pt_utils import AcceleratorConfig

from trl_forking import ForkingGRPOConfig
from trl_forking.settings.mappings import _list_accelerator_keys, _list_backends
from trl_forking.settings.plain import find_field_types


MAPPINGS = [name for name, types in find_field_types(ForkingGRPOConfig).items() if {dict, str} <= types]


def refuse(tmp_path, **settings) -> str:
    with pytest.raises(ValueError) as error:
        ForkingGRPOConfig(tmp_path, use_cpu=True, **settings)
    return str(error.value)


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize("text", ["nonsense", "", "{bad", '{"a": [1}', "name=1", "none.json"])
def test_a_text_that_is_no_mapping_is_refused_with_the_name_of_the_field(tmp_path, name, text):
    message = refuse(tmp_path, **{name: text})
    assert message.startswith(name) and "\n" not in message


@pytest.mark.parametrize("name", [name for name in MAPPINGS if name not in ("deepspeed", "accelerator_config")])
def test_a_mapping_and_its_json_are_taken(tmp_path, name):
    for value in ({"name": 1}, '{"name": 1}'):
        ForkingGRPOConfig(tmp_path, use_cpu=True, **{name: value})


def test_a_file_that_is_no_mapping_is_named(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "text.json").write_text("text")
    for name in ("list.json", "text.json"):
        assert name in refuse(tmp_path, accelerator_config=str(tmp_path / name))


def test_an_unknown_name_of_the_accelerator_is_answered_with_the_nearest(tmp_path):
    for value in ({"split_batch": True}, '{"split_batch": true}'):
        assert "did you mean 'split_batches'?" in refuse(tmp_path, accelerator_config=value)
    assert ForkingGRPOConfig(tmp_path, use_cpu=True, accelerator_config={"split_batches": False}).accelerator_config


@pytest.mark.parametrize("text", ["nonsense", "rank=1,scale", "a==1"])
def test_arguments_of_an_optimizer_are_pairs(tmp_path, text):
    assert refuse(tmp_path, optim_args=text).startswith("optim_args must be pairs")
    ForkingGRPOConfig(tmp_path, use_cpu=True, optim_args="rank=1, scale=0.5")


def test_a_backend_of_the_compiler_is_one_of_the_accelerator(tmp_path):
    assert "did you mean 'inductor'?" in refuse(tmp_path, torch_compile_backend="indctor")


def test_the_names_are_those_of_the_installed_packages():
    assert _list_backends() == [member.value.lower() for member in DynamoBackend]
    assert set(_list_accelerator_keys()) == set(AcceleratorConfig().to_dict())


def test_a_process_alone_needs_no_process_group(tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert ForkingGRPOConfig(tmp_path, use_cpu=True, ddp_backend="gloo").ddp_backend == "gloo"


def test_a_rule_that_cannot_be_found_is_refused_with_the_name_of_the_field(tmp_path):
    for name in ("token_rule", "token_selection"):
        assert refuse(tmp_path, **{name: "no_such_module.rule"}).startswith(f"{name}: The token rule")
