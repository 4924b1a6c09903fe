"""The names that this library imports from upstream. The test reads them from its sources, so no list can become stale.

Each test fails with a sentence that names the missing name and the file of this library that reads it. The test does not
import this library, because the import may need the missing name.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, TrainerControl, TrainerState
from trl import GRPOConfig, GRPOTrainer, TrlParser


PACKAGE = Path(__file__).parents[2] / "trl_forking"
SOURCES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
UPSTREAM = ("trl", "transformers", "accelerate", "huggingface_hub", "peft", "datasets")


# Imports --------------------------------------------------------------------------------------------------------------


def find_imports() -> Iterator[tuple[str, str, str]]:
    for file, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in UPSTREAM:
                yield from ((file, node.module, alias.name) for alias in node.names)


def has_name(module: str, name: str) -> bool:
    try:
        if hasattr(import_module(module), name):
            return True
        import_module(f"{module}.{name}")
    except ImportError:
        return find_spec(module.split(".")[0]) is None  # an optional package that is not installed
    return True


def test_names_that_are_imported_are_there():
    imports = list(find_imports())
    assert len(imports) > 50
    missing = [f"{module} has no {name}, which {file} imports" for file, module, name in imports]
    missing = [text for text, (_, module, name) in zip(missing, imports, strict=True) if not has_name(module, name)]
    assert not missing, f"Names are gone upstream: {'; '.join(missing)}."


# Attributes -----------------------------------------------------------------------------------------------------------


def find_class(file: str, name: str) -> ast.ClassDef:
    return next(node for node in ast.walk(SOURCES[file]) if isinstance(node, ast.ClassDef) and node.name == name)


def find_trainer_classes() -> dict[str, ast.ClassDef]:
    """The trainer and the mixins that it is made of, by file."""
    found = {}
    for file, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and (node.name == "ForkingGRPOTrainer" or node.name.endswith("Mixin")):
                found[file] = node
    return found


TRAINER_CLASSES = find_trainer_classes()
CONFIG = find_class("forking_grpo_config.py", "ForkingGRPOConfig")
PARSER = find_class("commands/arguments.py", "ForkingParser")


def find_chains(tree: ast.AST, root: str) -> Iterator[tuple[str, ...]]:
    """The attributes that are read one from the other: ("accelerator", "device") for `trainer.accelerator.device`."""
    for node in ast.walk(tree):
        names: list[str] = []
        while isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            names.insert(0, node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id == root:
            yield tuple(names)


def find_own(tree: ast.ClassDef) -> set[str]:
    """What a class of ours defines itself: members, fields and what it sets, in public when it is built."""
    members = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    fields = {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    stored = {
        node.attr
        for name, member in members.items()
        for node in ast.walk(member)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if name == "__init__" or node.attr.startswith("_")
    }
    return set(members) | fields | stored


def find_super(tree: ast.ClassDef) -> set[str]:
    """The methods that a class of ours hands on to the one it inherits from."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call)]
    return {node.attr for node in calls if isinstance(node.value.func, ast.Name) and node.value.func.id == "super"}


def find_gap(owner: Any, chain: tuple[str, ...]) -> str | None:
    """The first attributes of a chain that lead nowhere."""
    for length, name in enumerate(chain, start=1):
        if not hasattr(owner, name):
            return ".".join(chain[:length])
        owner = getattr(owner, name)
        if owner is None:  # nothing yet, such as a tracker: what is read from it can't be seen here
            return None
    return None


def assert_all_there(owner: Any, readers: dict[tuple[str, ...], set[str]], title: str) -> None:
    gaps = {find_gap(owner, chain): files for chain, files in readers.items() if find_gap(owner, chain)}
    text = "; ".join(f"{gap}, read by {' and '.join(sorted(files))}" for gap, files in sorted(gaps.items()))
    assert not gaps, f"{title} has lost {text}."


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    words = {"<pad>": 0, "<eos>": 1, "w": 2}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w")), pad_token="<pad>", eos_token="<eos>"
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "head_dim": 4, "num_key_value_heads": 1}
    config = Qwen3Config(vocab_size=3, num_hidden_layers=1, num_attention_heads=1, **sizes)
    folder = str(tmp_path_factory.mktemp("names"))
    return GRPOTrainer(
        model=Qwen3ForCausalLM(config),
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        args=GRPOConfig(folder, use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False),
        train_dataset=Dataset.from_dict({"prompt": ["w"] * 8}),
        processing_class=tokenizer,
    )


def find_readers(places: dict[str, ast.AST], root: str) -> dict[tuple[str, ...], set[str]]:
    readers: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for file, tree in places.items():
        for chain in find_chains(tree, root):
            readers[chain].add(file)
    return readers


# Only a trainer that pushes, or has environments, has them: other contract tests do.
SET_LATER = {"push_in_progress", "_environment_pool"}


def test_attributes_of_the_trainer_are_there(trainer):
    readers = find_readers(SOURCES, "trainer")
    assert len(TRAINER_CLASSES) == 15
    for chain, files in find_readers(TRAINER_CLASSES, "self").items():
        readers[chain] |= files
    own = set().union(*map(find_own, TRAINER_CLASSES.values())) | SET_LATER
    upstream = {chain: files for chain, files in readers.items() if chain[0] not in own | {"args"}}
    assert len(upstream) > 40
    assert_all_there(trainer, upstream, "TRL's GRPOTrainer")


def test_settings_are_there(trainer):
    """Those of `args` in every file that is about the trainer, and those that our config class reads."""
    about_training = {file: tree for file, tree in SOURCES.items() if "GRPO" in (PACKAGE / file).read_text()}
    readers = find_readers(about_training, "args")
    for root in ("self", "trainer"):
        for chain, files in find_readers(about_training, root).items():
            if chain[0] == "args" and len(chain) > 1:
                readers[chain[1:]] |= files
    for chain, files in find_readers({"forking_grpo_config.py": CONFIG}, "self").items():
        readers[chain] |= files
    own = find_own(CONFIG) | set(dir(list))  # a command line is called args too
    upstream = {chain: files for chain, files in readers.items() if chain[0] not in own}
    assert len(upstream) > 30
    assert_all_there(trainer.args, upstream, "TRL's GRPOConfig")


def test_attributes_of_the_parser_are_there():
    readers = find_readers({"commands/arguments.py": PARSER}, "self")
    upstream = {chain: files for chain, files in readers.items() if chain[0] not in find_own(PARSER)}
    assert {("_actions",), ("dataclass_types",)} <= set(upstream)
    assert_all_there(TrlParser(GRPOConfig), upstream, "TRL's TrlParser")


def test_state_and_control_have_what_callbacks_read():
    callbacks = {file: tree for file, tree in SOURCES.items() if "TrainerCallback" in (PACKAGE / file).read_text()}
    assert_all_there(TrainerState(), find_readers(callbacks, "state"), "Transformers' TrainerState")
    assert_all_there(TrainerControl(), find_readers(callbacks, "control"), "Transformers' TrainerControl")


@pytest.mark.parametrize(
    "tree, upstream",
    [*((tree, GRPOTrainer) for tree in TRAINER_CLASSES.values()), (PARSER, TrlParser)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_methods_that_we_override_are_there(tree, upstream):
    others = [other for other in TRAINER_CLASSES.values() if other is not tree]
    begun = set().union(
        *(find_own(other) - find_super(other) for other in others)
    )  # methods of ours, such as apply_settings
    missing = sorted(name for name in find_super(tree) - begun if not hasattr(upstream, name))
    assert not missing, (
        f"{upstream.__name__} has lost {', '.join(missing)}, which {tree.name} overrides and hands on to."
    )
