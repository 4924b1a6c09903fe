"""YAML that would fill the memory, or that no function could walk through, is refused at once."""

import time

import pytest
import yaml

from trl_forking.commands.config_file import read_key_lines
from trl_forking.run.user_errors import UserError
from trl_forking.run.yaml_text import compose_yaml, load_yaml


def double(lines: int, opening: str = "[*a{0}, *a{0}]") -> str:
    values = [f"k{n + 1}: &a{n + 1} {opening.format(n)}" for n in range(lines)]
    return "\n".join(["k0: &a0 [x]", *values]) + "\n"


MERGE = "k0: &a0 {{x: 1}}\n" + "".join(f"k{n + 1}: &a{n + 1} {{{{<<: [*a{n}, *a{n}]}}}}\n" for n in range(22))
LARGE = {
    "22_doublings": double(22),
    "40_doublings": double(40),
    "tenfold": double(7, "[" + ", ".join(["*a{0}"] * 10) + "]"),
    "keys": "k0: &a0 [x]\n" + "".join(f"k{n + 1}: &a{n + 1} {{p: *a{n}, q: *a{n}}}\n" for n in range(22)),
    "merges": MERGE.format(),
    "plain": "[" + "x, " * 100_001 + "]",
}
DEEP = {
    "brackets": "k: " + "[" * 200 + "]" * 200,
    "many_brackets": "k: " + "[" * 20_000 + "]" * 20_000,
    "braces": "k: " + "{a: " * 3000 + "1" + "}" * 3000,
    "indented": "".join(" " * level + "a:\n" for level in range(400)),
    "dashes": "- " * 2000 + "x",
    "aliases": "k0: &a0 [x]\n" + "".join(f"k{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(3000)),
}


@pytest.mark.parametrize("name", LARGE)
def test_aliases_that_stand_for_too_much_are_refused_in_one_sentence(tmp_path, name):
    (tmp_path / "run.yaml").write_text(LARGE[name])
    begin = time.process_time()
    with pytest.raises(
        UserError, match=r"^.*run\.yaml:\d+: not valid YAML: it stands for more than 100,000 values: repeat"
    ):
        read_key_lines(str(tmp_path / "run.yaml"))
    with pytest.raises(yaml.YAMLError):
        load_yaml(LARGE[name])
    assert time.process_time() - begin < 10 * (1 + (name == "plain"))


@pytest.mark.parametrize("name", DEEP)
def test_what_is_nested_too_deeply_is_refused_in_one_sentence(tmp_path, name):
    (tmp_path / "run.yaml").write_text(DEEP[name])
    with pytest.raises(
        UserError, match=r"^.*run\.yaml.*: not valid YAML: it is nested more than 100 levels deep: write"
    ):
        read_key_lines(str(tmp_path / "run.yaml"))


@pytest.mark.parametrize("text", ["k: &a [*a]", "k: &a {b: *a}", "k: &a [x, [y, *a]]", "&a [*a]"])
def test_an_alias_of_itself_is_refused(text):
    with pytest.raises(yaml.YAMLError, match="an alias stands inside of what it names"):
        load_yaml(text)


@pytest.mark.parametrize(
    "text",
    ["", "a: 1", "a: &x [1, 2]\nb: *x\nc: [*x, *x]", "base: &b {seed: 1}\nrun:\n  <<: *b\n  max_steps: 2", double(10),
     "k: " + "[" * 90 + "]" * 90],
)  # fmt: skip
def test_everything_else_is_read_as_by_yaml(text):
    assert load_yaml(text) == yaml.safe_load(text)
    assert (
        yaml.serialize(compose_yaml(text)) == yaml.serialize(yaml.compose(text))
        if text
        else compose_yaml(text) is None
    )
