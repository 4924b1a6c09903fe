"""`trl-forking grpo`: what it starts, what it refuses, what it prints."""

import os
import subprocess
import sys
from fractions import Fraction

import pytest
import yaml
from accelerate import PartialState
from accelerate.commands.launch import launch_command_parser

from trl_forking import ForkingGRPOConfig
from trl_forking.commands.grpo import run_grpo
from trl_forking.commands.launch import LAUNCHER_MODULE, TRAINING_MODULE, LaunchArguments, choose_launcher
from trl_forking.commands.main import main
from trl_forking.commands.math_arguments import _OFTEN_SET, MathArguments, make_parser
from trl_forking.commands.recipes import find_config, find_examples
from trl_forking.commands.settings import (
    check_num_processes,
    compute_batch,
    describe_batch,
    format_settings,
    plan_config,
)
from trl_forking.run.user_errors import UserError


RECIPES = sorted(path.stem for path in (find_examples() / "recipes").glob("*.yaml"))


class Started(Exception):
    """Raised in place of replacing the process of the tests."""


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Run the command on a machine with so many GPUs, and return command and environment of what it would start."""

    def run(*flags, num_gpus):
        def execve(path, command, environment):
            raise Started(path, command, environment)

        monkeypatch.setattr(os, "execve", execve)
        monkeypatch.setattr("trl_forking.commands.grpo.count_gpus", lambda: num_gpus)
        monkeypatch.setattr("trl_forking.run.user_errors.find_spec", lambda name: "there")
        flags = [*flags, "--output_dir", str(tmp_path)]
        with pytest.raises(Started) as started:
            main(["grpo", *flags])
        path, command, environment = started.value.args
        assert path == command[0] == sys.executable
        if command[1:3] == ["-m", LAUNCHER_MODULE]:  # runs the launcher, and ends without its traceback
            command = [command[0], "-m", *command[3:]]
        return command[1:], environment

    return run


@pytest.fixture
def mistake(capsys, monkeypatch, tmp_path):
    """Make a mistake, and return the message: exit code 2, three lines at most, nothing started."""
    monkeypatch.chdir(tmp_path)  # a recipe writes to runs/, which may hold a run of the developer

    def run(*flags, num_gpus=0):
        monkeypatch.setattr("trl_forking.commands.grpo.count_gpus", lambda: num_gpus)
        monkeypatch.setattr("trl_forking.run.user_errors.find_spec", lambda name: "there")
        with pytest.raises(SystemExit) as exit_info:
            main(["grpo", *flags])
        message = capsys.readouterr().err
        assert exit_info.value.code == 2
        assert len(message.strip().splitlines()) <= 3
        return message

    return run


def write_config(tmp_path, **settings):
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump({"model_name_or_path": "m", "dataset_name": "d", "num_generations": 4} | settings))
    return str(path)


# What is started


def test_gpus_start_accelerate_with_the_named_config_and_all_flags(start, tmp_path):
    config = write_config(tmp_path)
    flags = ["--config", config, "--accelerate_config", "zero3", "--num_processes", "4", "--learning_rate", "1e-5"]
    command, _ = start(*flags, num_gpus=8)
    assert command[:2] == ["-m", "accelerate.commands.launch"]
    args = launch_command_parser().parse_args(command[2:])
    assert args.config_file == str(find_config("zero3", "accelerate_configs"))
    assert args.num_processes == 4
    assert args.module and args.training_script == TRAINING_MODULE
    assert args.training_script_args == [*flags, "--output_dir", str(tmp_path)]


def test_all_gpus_of_a_machine_are_taken_with_ddp(start, tmp_path):
    command, _ = start("--config", write_config(tmp_path), num_gpus=8)
    args = launch_command_parser().parse_args(command[2:])
    assert (args.config_file, args.num_processes) == (str(find_config("ddp", "accelerate_configs")), 8)
    assert args.training_script_args[-2:] == ["--num_processes", "8"]


def test_launch_arguments_can_stand_in_the_file_and_the_command_line_wins(start, tmp_path):
    config = write_config(tmp_path, num_processes=8, accelerate_config="zero2")
    args = launch_command_parser().parse_args(start("--config", config, num_gpus=8)[0][2:])
    assert (args.config_file, args.num_processes) == (str(find_config("zero2", "accelerate_configs")), 8)
    flags = ["--num_processes", "2", "--accelerate_config", "fsdp2"]
    args = launch_command_parser().parse_args(start("--config", config, *flags, num_gpus=8)[0][2:])
    assert (args.config_file, args.num_processes) == (str(find_config("fsdp2", "accelerate_configs")), 2)


def test_several_machines_share_the_processes(start):
    flags = ["--machine_rank", "2", "--main_process_ip", "node0", "--main_process_port", "1234"]
    args = launch_command_parser().parse_args(start("--config", "paper_qwen3_8b", *flags, num_gpus=8)[0][2:])
    assert (args.num_processes, args.num_machines, args.machine_rank) == (32, 4, 2)
    assert (args.main_process_ip, args.main_process_port) == ("node0", 1234)


def test_one_process_on_a_machine_with_gpus_sees_one(start, tmp_path, monkeypatch):
    config = write_config(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    command, environment = start("--config", config, "--num_processes", "1", num_gpus=2)
    assert command[:2] == ["-m", TRAINING_MODULE]
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert start("--config", config, "--num_processes", "1", num_gpus=2)[1]["CUDA_VISIBLE_DEVICES"] == "3"


def test_several_processes_on_a_cpu_do_not_go_through_accelerate(start, tmp_path):
    """`accelerate launch --cpu` starts one."""
    for num_gpus in (0, 4):
        command, _ = start("--config", write_config(tmp_path), "--num_processes", "2", "--use_cpu", num_gpus=num_gpus)
        assert command[:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        assert command[5:7] == ["-m", TRAINING_MODULE]


@pytest.mark.parametrize("num_gpus", [0, 1])
def test_one_process_runs_in_this_one(num_gpus):
    args = plan_config(1)("runs/x", use_cpu=num_gpus == 0)
    assert choose_launcher(LaunchArguments(num_processes=1), args, num_gpus) is None


def test_what_is_started_inherits_the_environment_as_it_was(start, tmp_path, monkeypatch):
    monkeypatch.setenv("OURS", "before")
    config = write_config(tmp_path, env={"OURS": "from the file"})
    _, environment = start("--config", config, num_gpus=2)
    assert environment["OURS"] == "before"


@pytest.mark.slow
def test_two_processes_on_a_cpu_really_run(tmp_path):
    flags = ["--config", "cpu_smoke", "--num_processes", "2", "--max_steps", "1", "--output_dir", str(tmp_path)]
    flags += ["--per_device_train_batch_size", "16"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "trl_forking.commands.main", "grpo", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("8 prompts x 8 answers a rollout on 2 processes (32 answers each)") == 1
    assert "Starting 2 processes: " in done.stderr and f" -m {TRAINING_MODULE} --config " in done.stderr
    assert (tmp_path / "model.safetensors").exists()


# Mistakes


def test_mistakes_name_the_nearest_valid_value(mistake):
    message = mistake("--config", "paper_qwen_8b")
    assert "--config paper_qwen_8b: there is no such file and no such recipe; did you mean paper_qwen3_8b?" in message
    assert "did you mean --learning_rate?" in mistake("--config", "cpu_smoke", "--lerning_rate", "1e-5")
    assert "did you mean zero3?" in mistake("--config", "one_80gb_gpu", "--accelerate_config", "zero4", num_gpus=1)
    assert "num_processes must be at least 1, but it is 0" in mistake("--config", "cpu_smoke", "--num_processes", "0")


def test_a_recipe_that_is_like_no_other_lists_all(mistake):
    assert f"the recipes are {', '.join(RECIPES)}." in mistake("--config", "nonsense")


def test_a_missing_file_names_the_one_beside_it(mistake, tmp_path):
    path = write_config(tmp_path)
    assert f"did you mean {path}?" in mistake("--config", path.replace("train.yaml", "trian.yaml"))


def test_more_processes_than_gpus_are_refused_with_what_keeps_the_batch(mistake):
    message = mistake("--config", "paper_qwen3_8b", "--num_machines", "1", num_gpus=8)
    assert "num_processes is 32, but this machine has 8 GPUs" in message
    assert "--num_processes 8 --gradient_accumulation_steps 64 --steps_per_generation 1024" in message
    message = mistake("--config", "paper_qwen3_8b", "--num_machines", "2", num_gpus=8)
    assert "2 machines like this one have 16 GPUs" in message


def test_several_machines_need_number_and_address(mistake):
    remedy = "--machine_rank 0 to 3 --main_process_ip ADDRESS"
    assert remedy in mistake("--config", "paper_qwen3_8b", "--machine_rank", "0", num_gpus=8)
    assert remedy in mistake("--config", "paper_qwen3_8b", "--main_process_ip", "node0", num_gpus=8)
    message = mistake("--config", "paper_qwen3_8b", "--num_machines", "5", num_gpus=8)
    assert "num_processes is 32, which 5 machines can't share evenly" in message


def test_our_configs_need_gpus(mistake):
    assert "and this machine has none: leave it out" in mistake(
        "--config", "one_80gb_gpu", "--accelerate_config", "ddp"
    )
    message = mistake("--config", "cpu_smoke", "--accelerate_config", "ddp", num_gpus=8)
    assert "--accelerate_config ddp starts one process for each GPU, and use_cpu is true" in message


def test_a_config_that_accelerate_cannot_read_is_refused(mistake, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(find_config("ddp", "accelerate_configs").read_text() + "num_gpus: 8\n")
    message = mistake("--config", "one_80gb_gpu", "--accelerate_config", str(path), num_gpus=8)
    assert f"--accelerate_config {path}: The config file" in message
    assert "unknown keys (['num_gpus'])" in message


def test_deepspeed_is_asked_for_where_it_is_needed(monkeypatch):
    monkeypatch.setattr("trl_forking.run.user_errors.find_spec", lambda name: None)
    args = plan_config(2)("runs/x", per_device_train_batch_size=8)
    with pytest.raises(UserError, match=r"deepspeed is not installed: pip install 'trl-forking\[deepspeed\]'"):
        choose_launcher(LaunchArguments(accelerate_config="zero2"), args, num_gpus=2)
    assert choose_launcher(LaunchArguments(accelerate_config="ddp"), args, num_gpus=2)


def test_a_folder_of_another_run_is_refused_before_anything_starts(mistake, tmp_path):
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text("{}")
    message = mistake("--config", "cpu_smoke", "--num_processes", "2", "--output_dir", str(tmp_path))
    assert "checkpoint-2 is of another run" in message


def test_a_folder_with_the_model_of_another_run_is_refused_before_anything_starts(mistake, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    message = mistake("--config", "cpu_smoke", "--output_dir", str(tmp_path))
    assert "holds the model of another run: set another output_dir" in message


def test_batches_are_checked_for_the_processes_that_there_will_be(mistake, start, tmp_path):
    """16 processes with one answer each make groups of 16; on one they would not."""
    sizes = {"num_generations": 16, "per_device_train_batch_size": 1}
    start("--config", write_config(tmp_path, num_processes=16, **sizes), num_gpus=16)
    message = mistake("--config", write_config(tmp_path, num_processes=8, **sizes), num_gpus=8)
    assert "set num_generations to 8" in message


# Dry run


@pytest.mark.parametrize("name", RECIPES)
def test_a_dry_run_prints_settings_that_parse_to_the_same(name, capsys, tmp_path):
    run_grpo(["--config", name, "--dry_run"])
    printed = capsys.readouterr().out
    path = tmp_path / "printed.yaml"
    path.write_text(printed)
    num_processes = yaml.safe_load(printed)["num_processes"]
    parsed = []
    for file in (find_config(name, "recipes"), path):
        parser = make_parser(plan_config(num_processes))
        parsed.append([vars(part) for part in parser.parse_args_and_config(["--config", str(file)])])
    for values in parsed:
        values[1] = {key: value for key, value in values[1].items() if not key.startswith(("__", "distributed_state"))}
    assert parsed[0] == parsed[1]


def test_a_dry_run_says_what_the_batch_is_and_loads_nothing(capsys, monkeypatch):
    monkeypatch.setattr("trl_forking.run.user_errors.find_spec", lambda name: None)  # nor does it need any package
    run_grpo(["--config", "paper_qwen3_8b", "--dry_run", "--top_entropy_quantile", "0.3"])
    first, *settings = capsys.readouterr().out.splitlines()
    assert first == (
        "# 512 prompts x 16 answers a rollout on 32 processes (256 answers each); 16 optimizer steps a rollout, 32 prompts "
        "each."
    )
    assert "top_entropy_quantile: 0.3" in settings
    assert "token_selection: high_entropy" in settings
    assert not any(line.startswith(("dry_run", "adam_beta1", "generation_batch_size")) for line in settings)


def test_a_dry_run_is_checked_too(mistake):
    assert "soft_overlong_cache must be 0 to 52" in mistake(
        "--config", "cpu_smoke", "--dry_run", "--soft_overlong_cache", "53"
    )


@pytest.mark.parametrize(
    ("sizes", "num_processes", "batch", "sentence"),
    [
        ((8, 1, None), 1, (1, 1, 1), "1 optimizer step a rollout, 1 prompt each."),
        ((8, 1, 4), 2, (8, 2, 4), "4 optimizer steps a rollout, 2 prompts each."),
        ((8, 4, 2), 1, (2, 4, Fraction(1, 2)), "2 rollouts an optimizer step, 4 prompts each."),
        ((4, 1, 4), 1, (2, Fraction(1, 2), 4), "4 optimizer steps a rollout, 1/2 prompts each."),
    ],
)
def test_batches_are_computed(sizes, num_processes, batch, sentence):
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation")
    args = plan_config(num_processes)("runs/x", num_generations=8, **dict(zip(names, sizes, strict=True)))
    computed = compute_batch(args)
    assert (computed.prompts_per_rollout, computed.prompts_per_step, computed.steps_per_rollout) == batch
    assert describe_batch(args).endswith(sentence)


def test_iterations_are_steps():
    args = plan_config(1)("runs/x", steps_per_generation=2, num_iterations=3)
    assert compute_batch(args).steps_per_rollout == 6


def test_planned_batches_are_trls(monkeypatch):
    """The planned config is TRL's own arithmetic: it resolves as the real one does where the processes run."""
    monkeypatch.setattr(ForkingGRPOConfig, "world_size", 4)
    sizes = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}
    real, planned = ForkingGRPOConfig("runs/x", **sizes), plan_config(4)("runs/x", **sizes)
    assert real.generation_batch_size == planned.generation_batch_size == 24
    assert real.steps_per_generation == planned.steps_per_generation == 3


def test_another_number_without_a_batch_of_whole_numbers_has_no_remedy():
    args = plan_config(3)("runs/x", per_device_train_batch_size=8, gradient_accumulation_steps=2)
    with pytest.raises(UserError, match=r"num_processes is 4, but 3 run: start 4 with .* accelerate launch\.$"):
        check_num_processes(4, args, "train.yaml")
    check_num_processes(3, args, "train.yaml")
    check_num_processes(None, args, "train.yaml")


def test_settings_are_written_with_yamls_types():
    args = ForkingGRPOConfig("runs/x", use_cpu=True, lr_scheduler_type="cosine", learning_rate=2e-7, report_to="none")
    settings = yaml.safe_load(format_settings(args))
    assert settings["lr_scheduler_type"] == "cosine"
    assert settings["learning_rate"] == 2e-7
    assert settings["output_dir"] == "runs/x"


def test_writing_settings_leaves_the_processes_of_a_run_as_they_are(monkeypatch):
    """The defaults are taken from a second config, which would set Accelerate up anew: two processes became twice one."""
    args = ForkingGRPOConfig("runs/x", use_cpu=True, report_to="none")
    monkeypatch.setattr(args.distributed_state, "num_processes", 2)
    assert "use_cpu: true" in format_settings(args)
    assert PartialState().num_processes == args.world_size == 2


# Help


def test_help_is_short_ours_first_and_lists_the_recipes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "118")
    with pytest.raises(SystemExit) as exit_info:
        main(["grpo", "--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) <= 75
    assert max(map(len, lines)) <= 119
    ours = [*LaunchArguments.__annotations__, *MathArguments.__annotations__]
    ours += ForkingGRPOConfig.__annotations__
    assert all(f"\n  --{name} " in text for name in ours)
    assert text.index("--top_entropy_quantile") < text.index("--learning_rate")
    assert all(f"\n  {name} " in text for name in RECIPES)
    assert "--adam_beta1" not in text


def test_often_set_flags_exist():
    known = {action.dest for action in make_parser()._actions}
    assert set(_OFTEN_SET) <= known


@pytest.mark.parametrize("flag", ["--help-all", "--help_all"])
def test_help_all_has_inherited_flags(flag, capsys):
    with pytest.raises(SystemExit):
        main(["grpo", flag])
    text = capsys.readouterr().out
    assert all(f"--{name} " in text for name in ("adam_beta1", "vllm_mode", "lora_r", "token_selection"))


def test_help_comes_before_mistakes(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["grpo", "--config", "nonsense", "--lerning_rate", "1", "--help"])
    assert exit_info.value.code == 0 and capsys.readouterr().out.startswith("usage: trl-forking grpo ")


def test_the_command_is_listed(capsys):
    main(["--help"])
    assert "\n  grpo " in capsys.readouterr().out
