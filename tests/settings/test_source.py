"""Dataclasses that are read from source have the fields of the real ones, and say what they do not know."""

import dataclasses
import subprocess
import sys
from typing import Literal

import pytest

from trl_forking.settings import source
from trl_forking.settings.source import Unreadable, read_class, read_value, read_words


CONFIG = '''
import os
from dataclasses import dataclass, field
from typing import Any, Literal, Optional

from .kinds import Color, Paint as Coat, list_names
from . import kinds

SIZES = kinds.SIZES
WORDS = ("a",) + ("b", "c")
NAMES = {"x": Color, "y": os.environ}
COUNT: int = 3
if os.environ.get("SOMETHING"):
    MAYBE = "this"
else:
    MAYBE = "that"


class Mixin:
    def method(self):
        return 1


@dataclass
class Base(Mixin):
    """Fields."""

    default_name = "first"
    if os.name == "nt":
        system = "windows"
    folder: str | None = None
    name: str = field(default=default_name, metadata={"help": "Its name."})
    place: str = field(default=system)
    color: Color | str = field(default="red")
    kind: Literal["a", "b"] = "a"

    def __post_init__(self):
        raise AssertionError("no method is read")


@dataclass
class Config(Base):
    kind: Literal["a", "b"] = "b"
    count: Optional[int] = COUNT
    rest: list[str] = field(default_factory=list, metadata={"help": "The rest.", "choices": list_names()})
    coat: Coat | None = None
    maybe: str = MAYBE
    sizes: dict[str, Any] = field(default_factory=lambda: {"a": list_names()})


@dataclass(kw_only=True)
class Other:
    size: int = 1


class Plain(Base):
    size: int = 1
'''
KINDS = '''
from enum import Enum


class Word(str, Enum):
    """Says what is wrong."""

    @classmethod
    def _missing_(cls, value):
        raise ValueError(value)


class Color(Word):
    """A color."""

    RED = "red"
    BLUE = "blue"


class Paint:
    pass


def list_names():
    return ["a"]
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .config import Config as Settings\n"
    )
    (tmp_path / "made_up" / "config.py").write_text(CONFIG)
    (tmp_path / "made_up" / "kinds.py").write_text(KINDS)
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (source._load, source._resolve):
        cached.cache_clear()
    yield tmp_path / "made_up"
    assert "made_up.config" not in sys.modules and "made_up" not in sys.modules, "the package was imported"
    for cached in (source._load, source._resolve):
        cached.cache_clear()


def test_fields_types_and_defaults_are_read(package):
    config = read_class("made_up", "Settings")
    fields = {entry.name: entry for entry in dataclasses.fields(config)}
    assert list(fields) == [
        *("folder", "name", "place", "color", "kind"),
        *("count", "rest", "coat", "maybe", "sizes"),
    ]
    assert (config().name, config().count, config().rest, config("x").folder) == ("first", 3, [], "x")
    assert fields["kind"].type == Literal["a", "b"] and config().kind == "b"
    assert fields["name"].metadata == {"help": "Its name."}
    color = fields["color"].type.__args__[0]
    assert [member.value for member in color] == ["red", "blue"] and str(color) == "<enum 'Color'>"
    assert f"{color.__module__}.{color.__qualname__}" == "made_up.kinds.Color" and color("red") == "red"


def test_what_is_not_known_is_said_and_the_rest_is_read(package):
    config = read_class("made_up.config", "Config")
    assert config.unread == {"place", "rest", "maybe", "sizes"}
    assert (config().place, config().maybe, config().sizes) == (None, None, None)
    assert dict(dataclasses.fields(config)[6].metadata) == {"help": "The rest."}


def test_a_class_that_is_only_named_cannot_be_used(package):
    coat = next(entry for entry in dataclasses.fields(read_class("made_up", "Settings")) if entry.name == "coat")
    assert coat.type.__args__[0].__name__ == "Paint"
    with pytest.raises(Unreadable):
        coat.type.__args__[0]("red")


def test_constants_are_read(package):
    assert read_words("made_up.config", "WORDS") == ["a", "b", "c"]
    assert read_words("made_up.config", "NAMES") == ["x", "y"]
    assert read_value("made_up.config", "COUNT") == 3


@pytest.mark.parametrize("name", ["Other", "Plain", "Mixin", "COUNT", "Color", "list_names", "missing", "os"])
def test_what_is_no_plain_dataclass_is_unreadable(package, name):
    with pytest.raises(Unreadable):
        read_class("made_up.config", name)


@pytest.mark.parametrize("name", ["SIZES", "MAYBE", "COUNT", "Config", "missing"])
def test_what_is_no_list_of_words_is_unreadable(package, name):
    with pytest.raises(Unreadable):
        read_words("made_up.config", name)


def test_a_changed_source_is_read_anew_in_the_next_process(package):
    code = "from trl_forking.settings.source import read_value; print(read_value('made_up.config', 'COUNT'))"
    for count in (3, 4):
        (package / "config.py").write_text(CONFIG.replace("COUNT: int = 3", f"COUNT: int = {count}"))
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(package.parent), *sys.path]!r}; {code}"],
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == str(count), done.stderr


def test_a_package_without_source_is_unreadable(package):
    (package / "config.py").unlink()
    (package / "kinds.py").write_text("this is no Python")
    for module in ("made_up.config", "made_up.kinds", "math", "no_such_package"):
        with pytest.raises(Unreadable):
            read_value(module, "COUNT")
