"""What is read from the source of TRL, Transformers and torch is what their import would give.

A wrong flag or value is answered from the source. Each test fails with a sentence that names the field that is not read as
it is.
"""

import dataclasses
import importlib

import pytest
import torch
from trl import GRPOConfig

from trl_forking import ForkingGRPOConfig
from trl_forking.commands.early_checks import DEFAULT_OUTPUT_DIR, read_config
from trl_forking.commands.launch import count_gpus
from trl_forking.commands.math_arguments import make_parser
from trl_forking.run.device import check_device
from trl_forking.settings.limits import _CACHES, _TRACKERS
from trl_forking.settings.plain import find_field_types
from trl_forking.settings.source import Unreadable, read_class, read_value, read_words


# A value of these is left to TRL's config: the source takes a default or choices from a function or from a condition.
LEFT_TO_THE_CONFIG = {"log_level", "log_level_replica", "optim", "parallelism_config"}
CLASSES = {
    "GRPOConfig": ("trl", GRPOConfig),
    "ForkingGRPOConfig": ("trl_forking.forking_grpo_config", ForkingGRPOConfig),
}


def name_types(kind: type) -> dict[str, set[str]]:
    return {
        field: {f"{each.__module__}.{each.__qualname__}" for each in types}
        for field, types in find_field_types(kind).items()
    }


@pytest.mark.parametrize("name", CLASSES)
def test_the_source_has_the_fields_of_the_class_with_their_types_defaults_and_choices(name):
    module, real = CLASSES[name]
    found = read_class(module, name)
    assert found.unread <= LEFT_TO_THE_CONFIG, f"{found.unread - LEFT_TO_THE_CONFIG}: no longer read from the source"
    fields, read = dataclasses.fields(real), {entry.name: entry for entry in dataclasses.fields(found)}
    assert [entry.name for entry in fields] == list(read)
    types, read_types = name_types(real), name_types(found)
    for entry in fields:
        other = read[entry.name]
        assert entry.init == other.init and entry.default_factory is other.default_factory, entry.name
        assert dict(entry.metadata).get("help") == dict(other.metadata).get("help"), entry.name
        if entry.name in found.unread:
            continue
        assert types[entry.name] == read_types[entry.name], f"{entry.name} has other types than its source says"
        assert str(entry.default) == str(other.default), f"{entry.name} has another default than its source says"
        assert entry.metadata.get("choices") == other.metadata.get("choices"), entry.name


def test_the_parser_of_the_source_takes_what_the_parser_of_the_class_takes():
    def describe(action):
        kind = getattr(action.type, "__name__", str(action.type))
        return [action.option_strings, action.nargs, action.choices and list(map(str, action.choices)), kind]

    real, read = ({tuple(a.option_strings): a for a in make_parser(kind)._actions} for kind in (None, read_config()))
    assert list(real) == list(read)
    for flags, action in real.items():
        if action.dest not in LEFT_TO_THE_CONFIG:
            assert describe(action) == describe(read[flags]), action.dest


@pytest.mark.parametrize("constant", [_TRACKERS, _CACHES], ids=lambda constant: constant[1])
def test_the_source_has_the_words_of_transformers(constant):
    module, name = constant
    assert read_words(module, name) == list(getattr(importlib.import_module(module), name))


def test_the_default_folder_is_that_of_transformers():
    assert ForkingGRPOConfig(use_cpu=True).output_dir == DEFAULT_OUTPUT_DIR


def test_the_source_of_torch_says_what_it_was_built_for():
    assert [read_value("torch.version", name) for name in ("cuda", "hip")] == [torch.version.cuda, torch.version.hip]
    assert count_gpus() == (torch.accelerator.device_count() if torch.accelerator.is_available() else 0)


def test_the_stubs_of_torch_name_every_type_that_weights_can_have():
    for name in dir(torch):
        if isinstance(dtype := getattr(torch, name), torch.dtype) and dtype.is_floating_point:
            check_device(None, name)
    for name in ("float23", "Tensor", "float32: dtype", ".*"):
        with pytest.raises(ValueError, match="is no type of weights"):
            check_device(None, name)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("trl", "GRPOTrainer"),  # a class, but no dataclass
        ("trl", "NoSuchClass"),
        ("no_such_package", "Config"),
        ("transformers.training_args", "logger"),
    ],
)
def test_what_the_source_does_not_say_is_left_to_the_import(module, name):
    with pytest.raises(Unreadable):
        read_class(module, name)
    with pytest.raises(Unreadable):
        read_words(module, name)
