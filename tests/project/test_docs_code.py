"""Every block of code in docs runs, or a comment before it says why it does not: `<!-- not run: it needs a GPU -->`.

`<!-- parsed only: ... -->` stands before commands that would take long. Their flags are read by the parsers of the commands, and
their files exist, but nothing is trained or generated.
"""

import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from helpers.code_blocks import OUTPUT, Block, find_pages, read_blocks, read_commands, split_command
from helpers.tiny import build_trainer
from trl_forking.commands.arguments import ForkingParser
from trl_forking.commands.compare_runs import CompareRunsArguments
from trl_forking.commands.doctor import make_doctor_parser
from trl_forking.commands.main import main
from trl_forking.commands.recipes import find_examples
from trl_forking.forking_grpo_config import ForkingGRPOConfig


ROOT = Path(__file__).parents[2]
BLOCKS = [block for page in find_pages() for block in read_blocks(page.read_text(), str(page.relative_to(ROOT)))]
# Programs that are not of this project. Their flags are not read.
OTHERS = {"cp", "git", "hf", "lm_eval", "mv", "vllm"}
SHELLS = ("bash", "console")


def name_block(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """A folder in which the files that the pages name exist."""
    monkeypatch.chdir(tmp_path)
    for name in ("examples", "benchmarks", "docs", "Makefile", "trl_forking", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "my.yaml").write_text((find_examples() / "recipes" / "cpu_smoke.yaml").read_text())
    (tmp_path / "problems.jsonl").write_text(json.dumps({"question": "What is 7 times 8?", "answer": "56"}) + "\n")
    return tmp_path


def test_every_language_is_known_and_every_mark_has_a_reason():
    assert len(BLOCKS) > 60
    for block in BLOCKS:
        assert block.language in (*OUTPUT, *SHELLS, "python", "yaml"), name_block(block)
        assert not block.mark or len(block.reason) > 10, name_block(block)
        assert not block.mark or block.language in (*SHELLS, "python"), f"{name_block(block)}: an output has no mark"


def test_few_blocks_are_not_run_at_all():
    not_run = [name_block(block) for block in BLOCKS if block.mark == "not run"]
    assert len(not_run) <= 14, not_run


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml"], ids=name_block)
def test_settings_in_yaml_are_fields(block):
    settings = yaml.safe_load(block.code)
    known = {action.dest for action in make_doctor_parser(ForkingGRPOConfig)._actions}
    assert set(settings) <= known


# Python


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python" and not b.mark], ids=name_block)
def test_python_runs(block, stand_ins):
    """As printed; names that a page uses without making them stand for small ones here."""
    names = {"ForkingGRPOConfig": ForkingGRPOConfig}
    if re.search(r"\btrainer\.", block.code):
        names["trainer"] = build_trainer(stand_ins / "run")
    if "model.generate" in block.code:
        names |= {"model": SimpleNamespace(generate=lambda **kwargs: kwargs["logits_processor"]), "inputs": {}}
    exec(compile(block.code, name_block(block), "exec"), names)


# Commands


class Parsed(Exception):
    """The flags of a command were read, and nothing more is to happen."""


@pytest.fixture
def parse_only(monkeypatch, stand_ins):
    """Run a command up to the point at which its flags have been read."""
    parse = ForkingParser.parse_args_and_config

    def parse_and_stop(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(ForkingParser, "parse_args_and_config", parse_and_stop)

    def check(command: str) -> None:
        match split_command(command):
            case ["trl-forking", "compare-runs", *words]:
                flags = [word.lstrip("-").replace("-", "_") for word in words if word.startswith("--")]
                assert set(flags) <= {*CompareRunsArguments.__annotations__}, flags
            case ["trl-forking", *words]:
                with pytest.raises(Parsed):
                    main(words)
            case ["accelerate", "launch", *flags]:
                args, _, _ = _validate_launch_command(launch_command_parser().parse_args(flags))
                assert Path(args.training_script).is_file()
            case ["python", script, *flags] | [script, *flags] if script.endswith((".py", ".sh")):
                check_script(Path(script), flags)
            case ["python", "-m", "fuzz", *_]:
                pass
            case ["make", target]:
                assert re.search(rf"^{target}:", Path("Makefile").read_text(), flags=re.MULTILINE), target
            case ["pip", _, *words]:
                for extra in re.findall(r"trl-forking\[(\w+)\]", " ".join(words)):
                    assert f"\n{extra} = " in Path("pyproject.toml").read_text(), extra
            case [program, *_]:
                assert program in OTHERS, f"no test knows {command!r}: add a case here"

    return check


def check_script(script: Path, flags: list[str]) -> None:
    """A script of the repository exists, and its source has every flag."""
    assert script.is_file(), script
    source = script.read_text().replace("_", "-")
    for flag in flags:
        if flag.startswith("--"):
            assert flag.replace("_", "-") in source or script.name == "train_math.py", f"{script} has no {flag}"


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language in SHELLS and b.mark == "parsed only"], ids=name_block
)
def test_commands_are_read(block, parse_only):
    for command in read_commands(block.code):
        parse_only(command)


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in SHELLS and not b.mark], ids=name_block)
def test_commands_run(block, stand_ins, capsys):
    """As printed; an evaluation is kept short by flags behind its own."""
    short = {"evaluate": ["--num_problems", "2", "--num_generations", "2"]}
    for command in read_commands(block.code):
        program, name, *flags = split_command(command)
        assert program == "trl-forking", f"no test runs {command!r}: mark the block"
        main([name, *flags, *short.get(name, [])])
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("trl-forking grpo --config cpu_smok", SystemExit),
        ("trl-forking evaluate --model countdown", SystemExit),
        ("trl-forking compare-runs a b --jsn x", AssertionError),
        ("python benchmarks/update_stepp.py", AssertionError),
        ("python benchmarks/update_step.py --repeat-it 3", AssertionError),
        ("make tests", AssertionError),
        ('pip install "trl-forking[maths]"', AssertionError),
        ("trl-forkin demo", AssertionError),
    ],
)
def test_a_wrong_command_is_found(parse_only, command, error):
    with pytest.raises(error):
        parse_only(command)


def test_blocks_marks_and_commands_are_read():
    text = "<!-- not run: it takes an hour -->\n```bash\nA=1 python x.py \\\n  --b 2  # c\nexport D=3\n```\n\n```text\nout\n```\n"
    first, second = read_blocks(text, "page.md")
    assert (first.mark, first.reason, first.line) == ("not run", "it takes an hour", 2)
    assert read_commands(first.code) == ["python x.py    --b 2"]
    assert (second.mark, second.language, second.code) == ("", "text", "out\n")
    assert read_commands('E="--a b"\nfor run in x; do\n  trl-forking card $run $E\ndone') == [
        "trl-forking card run --a b"
    ]


def test_settings_page_is_the_one_of_the_dataclass():
    build_page = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))["build_page"]
    assert build_page() == (ROOT / "docs" / "settings.md").read_text(), "run python docs/make_settings.py"


def test_a_field_without_a_group_and_a_changed_default_are_found():
    names = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))
    names["GROUPS"].pop("The rollout")
    with pytest.raises(ValueError, match="dynamic_sampling"):
        names["build_page"]()
    assert "`dynamic_sampling_max_rounds`\n\nType `int`, default `10`." in (ROOT / "docs" / "settings.md").read_text()
