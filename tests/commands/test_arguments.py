import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import pytest
from trl import DatasetMixtureConfig, ModelConfig

from trl_forking import ForkingGRPOConfig
from trl_forking.commands.arguments import ForkingParser
from trl_forking.run.user_errors import UserError, exit_on_user_error, require


@dataclass
class Arguments:
    learning_rate: float = 0.1
    max_steps: int = 10
    shuffle: bool = True
    verbose: bool = False
    token_selection: Literal["high_entropy", "low_entropy"] = "high_entropy"
    run_name: str | None = None
    reward_weights: list[float] | None = None
    model_init_kwargs: dict | str | None = None
    debug: str = field(default="", metadata={"help": "As in TrainingArguments."})

    def __post_init__(self):
        if self.max_steps < 0:
            raise ValueError(f"max_steps must not be negative,\nbut it is {self.max_steps}.")


def parse(*args, config=None, tmp_path=None):
    parser = ForkingParser(Arguments)
    if config is not None:
        path = tmp_path / "train.yaml"
        path.write_text(config)
        args = ("--config", str(path), *args)
    (arguments,) = parser.parse_args_and_config(list(args))
    return arguments


@pytest.fixture
def mistake(capsys, tmp_path):
    """Parse what is wrong, and return the message: exit code 2, at most three lines, no traceback."""

    def run(*args, config=None):
        with pytest.raises(SystemExit) as exit_info:
            parse(*args, config=config, tmp_path=tmp_path)
        message = capsys.readouterr().err
        assert exit_info.value.code == 2
        assert len(message.strip().splitlines()) <= 3
        assert "Traceback" not in message
        return message

    return run


# Precedence


def test_command_line_wins_over_yaml_and_yaml_over_defaults(tmp_path):
    config = "learning_rate: 1e-6\nmax_steps: 5\ntoken_selection: low_entropy\n"
    arguments = parse("--max-steps", "7", config=config, tmp_path=tmp_path)
    assert (arguments.learning_rate, arguments.max_steps) == (1e-6, 7)
    assert arguments.token_selection == "low_entropy"
    assert arguments.shuffle is True


@pytest.mark.parametrize(
    ("args", "config", "expected"),
    [
        ([], "shuffle: false\nverbose: true", (False, True)),
        (["--shuffle", "--verbose", "false"], "shuffle: false\nverbose: true", (True, False)),
        (["--no_shuffle", "--verbose"], "shuffle: true\nverbose: false", (False, True)),
        (["--no-shuffle"], "shuffle: yes", (False, False)),
        (["--shuffle", "true"], "shuffle: 'no'", (True, False)),
    ],
)
def test_command_line_wins_over_yaml_for_booleans(args, config, expected, tmp_path):
    arguments = parse(*args, config=config, tmp_path=tmp_path)
    assert (arguments.shuffle, arguments.verbose) == expected


def test_env_of_yaml_is_set_over_the_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("FORKING_TEST", "shell")
    parse(config="env:\n  FORKING_TEST: 1\nmax_steps: 3\n", tmp_path=tmp_path)
    assert os.environ["FORKING_TEST"] == "1"


@pytest.mark.parametrize("flag", ["--token-selection", "--token_selection", "--token-selection="])
def test_dashes_underscores_and_equal_signs_work(flag):
    args = [f"{flag}low_entropy"] if flag.endswith("=") else [flag, "low_entropy"]
    assert parse(*args).token_selection == "low_entropy"


def test_config_takes_an_equal_sign(tmp_path):
    (tmp_path / "train.yaml").write_text("max_steps: 3")
    assert parse(f"--config={tmp_path / 'train.yaml'}").max_steps == 3


def test_yaml_values_get_the_types_of_the_command_line(tmp_path):
    config = "learning_rate: 1\nreward_weights: [1e-1, 2]\nrun_name: 2024\nmodel_init_kwargs: {a: 1}\n"
    arguments = parse(config=config, tmp_path=tmp_path)
    assert arguments.reward_weights == [0.1, 2.0]
    assert [type(value) for value in (arguments.learning_rate, arguments.reward_weights[1])] == [float, float]
    assert (arguments.run_name, arguments.model_init_kwargs) == ("2024", {"a": 1})
    assert parse(config="reward_weights: 0.5\nrun_name:\n", tmp_path=tmp_path).reward_weights == [0.5]


def test_yaml_merge_keys_work(tmp_path, mistake):
    assert parse(config="<<: {max_steps: 3}\nverbose: true\n", tmp_path=tmp_path).max_steps == 3
    assert "train.yaml: unknown key max_step" in mistake(config="<<: {max_step: 3}")


def test_parses_the_dataclasses_of_trl(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(
        f"output_dir: {tmp_path}\nuse_cpu: true\nreport_to: none\nlora_target_modules: all-linear\n"
        "model_init_kwargs: {dtype: float32}\ndatasets:\n  - path: a\n    columns: [x]\n"
    )
    parser = ForkingParser((ForkingGRPOConfig, ModelConfig, DatasetMixtureConfig))
    training_args, model_args, datasets = parser.parse_args_and_config(
        ["--config", str(path), "--top-entropy-quantile", "0.1"]
    )
    assert training_args.top_entropy_quantile == 0.1
    assert training_args.model_init_kwargs == {"dtype": "float32"}
    assert model_args.lora_target_modules == "all-linear"
    assert (datasets.datasets[0].path, datasets.datasets[0].columns) == ("a", ["x"])


# Mistakes


def test_unknown_flag_names_it_and_the_nearest(mistake):
    message = mistake("--token_selecton", "low_entropy")
    assert "--token_selecton on the command line" in message
    assert "did you mean --token_selection?" in message
    assert "did you mean --token_selection?" in mistake("--token-selecton=low_entropy")
    assert "--help" in mistake("--zzz")


def test_shortened_flag_is_unknown(mistake):
    assert "did you mean --max_steps?" in mistake("--max_step", "3")


def test_unknown_flag_comes_before_the_errors_of_a_dataclass(mistake):
    assert "--lerning_rate" in mistake("--lerning_rate", "1", "--max_steps", "-1")


def test_unexpected_argument(mistake):
    assert "unexpected argument train.yaml" in mistake("train.yaml")


def test_unknown_key_names_file_and_line_and_the_nearest(mistake):
    message = mistake(config="max_steps: 3\ntoken_selecton: low_entropy\n")
    assert "train.yaml:2: unknown key token_selecton; did you mean token_selection?" in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("max_steps: 1.5", "train.yaml:1: max_steps: expected int, got 1.5"),
        ("max_steps: three", "train.yaml:1: max_steps: expected int, got 'three'"),
        ("max_steps: true", "train.yaml:1: max_steps: expected int, got True"),
        ("max_steps: [1]", "train.yaml:1: max_steps: expected int, got [1]"),
        ("max_steps:", "train.yaml:1: max_steps: expected int, got None"),
        ("shuffle: maybe", "train.yaml:1: shuffle: expected bool, got 'maybe'"),
        ("run_name: no", "train.yaml:1: run_name: expected str | None, got False (YAML reads"),
        ("reward_weights: [a]", "train.yaml:1: reward_weights: expected float, got 'a'"),
        ("token_selection: low_entropi", "got 'low_entropi'; did you mean low_entropy?"),
        ("max_steps: -1", "train.yaml:1: max_steps must not be negative, but it is -1."),
        ("max_steps: 1\nmax_steps: 2", "train.yaml:2: max_steps is already set in line 1"),
        ("env: 3", "train.yaml:1: env must be a mapping"),
        ("no: 3", "train.yaml:1: a key must be the name of a field"),
        ("max_steps: [", "train.yaml:1: not valid YAML"),
        ("max_steps: !what 3", "train.yaml:1: not valid YAML"),
        ("max_steps", "has no `key: value` lines"),
        ("", "has no `key: value` lines"),
    ],
)
def test_wrong_yaml_names_file_line_and_value(line, expected, mistake):
    assert expected in mistake(config=line)


def test_wrong_value_on_the_command_line(mistake):
    assert "--max_steps" in mistake("--max_steps", "three")
    assert "'low_entropy'" in mistake("--token_selection", "low")
    assert "expected one argument" in mistake("--max_steps")


def test_value_of_the_command_line_is_not_blamed_on_the_file(mistake):
    assert "train.yaml" not in mistake("--max_steps", "-1", config="max_steps: 3")


def test_missing_yaml_file_names_the_nearest(mistake, tmp_path):
    (tmp_path / "train.yaml").touch()
    message = mistake("--config", str(tmp_path / "trian.yaml"))
    assert "there is no such file" in message
    assert f"did you mean {tmp_path / 'train.yaml'}?" in message
    assert "cannot be read" in mistake("--config", str(tmp_path))


def test_config_without_a_value_or_twice(mistake):
    assert "has no value" in mistake("--config")
    assert "given twice" in mistake("--config", "a.yaml", "--config", "b.yaml")


def test_bad_value_of_the_real_config_is_one_message(capsys, tmp_path):
    parser = ForkingParser(ForkingGRPOConfig)
    with pytest.raises(SystemExit) as exit_info:
        parser.parse_args_and_config(["--output_dir", str(tmp_path), "--top_entropy_quantile", "20"])
    message = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert "top_entropy_quantile" in message
    assert len(message.splitlines()) <= 3


# --debug and what else uses it


def test_bare_debug_shows_the_traceback(capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse("--debug", "--max_steps", "-1")
    assert exit_info.value.code == 2
    assert "Traceback" in capsys.readouterr().err


def test_debug_with_a_value_stays_the_field():
    parser = ForkingParser(Arguments)
    (arguments,) = parser.parse_args_and_config(["--debug", "underflow_overflow"])
    assert (arguments.debug, parser.debug) == ("underflow_overflow", False)
    parser.parse_args_and_config(["--max_steps", "1", "--debug"])
    assert parser.debug


def test_remaining_strings_can_be_asked_for():
    arguments, rest = ForkingParser(Arguments).parse_args_and_config(
        ["--max_steps", "1", "--other"], return_remaining_strings=True
    )
    assert (arguments.max_steps, rest) == (1, ["--other"])


@pytest.mark.parametrize("error", [UserError, ValueError, ImportError, FileNotFoundError])
def test_exit_on_user_error_makes_one_line_of_a_message(error, capsys):
    with pytest.raises(SystemExit) as exit_info, exit_on_user_error():
        raise error("first line\n\n  second line")
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: first line second line\n(--debug shows the traceback)\n"


def test_exit_on_user_error_leaves_faults_of_the_program():
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        1 / 0  # noqa: B018


def test_require_names_the_command_that_installs():
    require("yaml", "pyyaml")
    with pytest.raises(UserError, match=r"pip install 'trl-forking\[math\]'"):
        require("no_such_package_at_all", "trl-forking[math]")


@pytest.mark.slow
def test_a_script_ends_with_code_2_and_no_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from dataclasses import dataclass\nfrom trl_forking.commands.arguments import ForkingParser\n"
        "@dataclass\nclass A:\n    x: int = 1\nForkingParser(A).parse_args_and_config()\n"
    )
    done = subprocess.run([sys.executable, script, "--y", "1"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown flag --y" in done.stderr
    assert "Traceback" not in done.stderr


# Help


@dataclass
class Percents:
    share: float = field(default=0.2, metadata={"help": "Keeps 20 % of the tokens (5 %-bins)."})
    escaped: int = field(default=3, metadata={"help": "Already written for argparse: 50 %% of %(prog)s, %(type)s."})
    other: bool = field(default=True, metadata={"help": "%s, 100%, %(unknown)s and %d"})


@dataclass
class GroupedPercents:
    _argument_group_name = "Group"
    grouped: str | None = field(default=None, metadata={"help": "100 % of a group"})


def print_help(parser, flag, capsys):
    with pytest.raises(SystemExit) as exit_info:
        parser.parse_args_and_config([flag])
    assert exit_info.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_a_percent_sign_in_any_help_text_is_shown(flag, capsys):
    text = print_help(ForkingParser((Percents, GroupedPercents), prog="tool"), flag, capsys)
    assert "Keeps 20 % of the tokens (5 %-bins). (default: 0.2)" in text
    assert "50 % of tool, int. (default: 3)" in text
    assert "%s, 100%, %(unknown)s and %d (default: True)" in text
    assert "100 % of a group" in text


def test_help_shows_the_groups_and_help_all_every_flag(capsys):
    groups = {"Tokens": ["escaped", "share"]}
    parser = ForkingParser(Percents, prog="tool", groups=groups, notes=["A note."], description="What it does.")
    short, everything = (print_help(parser, flag, capsys) for flag in ("-h", "--help_all"))
    assert short.startswith("usage: tool [flags] What it does. Tokens --escaped Already written")
    assert "A note." in short and "Already written for argparse: 50 % of" in short
    assert "Keeps 20 % of the tokens" in short and everything.index("--escaped") < everything.index("--share")
    assert "--other" not in short and "--other" in everything and "What it does." in everything


def test_help_is_no_key_of_a_file(mistake):
    assert "train.yaml:1: unknown key help_all" in mistake(config="help_all: true")


def test_a_mistyped_help_flag_is_corrected(mistake):
    assert "did you mean --help_all?" in mistake("--help-al")
