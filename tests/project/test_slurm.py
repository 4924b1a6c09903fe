"""The Slurm script starts trainers and a vLLM server, and ends on a mistake before it starts anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from trl_forking.commands.math_arguments import make_parser
from trl_forking.commands.recipes import find_examples
from trl_forking.commands.settings import plan_config


EXAMPLES = find_examples()
SBATCH = EXAMPLES / "slurm" / "train_with_vllm_server.sbatch"
RECIPE = EXAMPLES / "recipes" / "paper_qwen3_8b.yaml"


def run_sbatch(tmp_path, *arguments, nodes="a b c", settings=None, **environment):
    """Run the script with stand-ins for what a cluster has; each writes down how it was called.

    `settings` stand in for what a dry run prints.
    """
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir(exist_ok=True)
    stand_ins = {
        "scontrol": f'printf "%s\\n" {nodes}',
        "srun": 'while [[ $1 == --* ]]; do shift; done; export SLURM_PROCID=1; exec "$@"',
        "trl": f'printf "trl %s\\n" "$*" >> {log}; exec sleep 60',
        "accelerate": f'printf "accelerate %s\\n" "$*" >> {log}; sleep 1',
        "python": f'exec {sys.executable} "$@"' if settings is None else f"printf '{settings}'",
    }
    for name, body in stand_ins.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path), "SLURM_JOB_NODELIST": "x"} | environment
    environment |= {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    command = ["bash", str(SBATCH), *map(str, arguments)]
    done = subprocess.run(command, cwd=EXAMPLES.parent, env=environment, capture_output=True, text=True, timeout=120)
    return done, sorted(log.read_text().splitlines()) if log.exists() else []


def parse_flags(command):
    return dict(re.findall(r"--(\w+) ([^-\s]\S*)", command))


@pytest.mark.slow
def test_slurm_script_starts_trainers_and_a_server_with_flags_that_exist(tmp_path):
    from trl.scripts.vllm_serve import ScriptArguments as ServerArguments

    (tmp_path / "out" / "checkpoint-80").mkdir(parents=True)
    (tmp_path / "out" / "checkpoint-80" / "trainer_state.json").touch()
    done, calls = run_sbatch(tmp_path, RECIPE, "--output_dir", tmp_path / "out", GPUS_PER_NODE="4")
    assert done.returncode == 0, done.stderr
    trainer, server = calls
    expected = {"model": "Qwen/Qwen3-8B-Base", "tensor_parallel_size": "4", "max_model_len": "22528"}
    assert expected.items() <= parse_flags(server).items()
    assert parse_flags(server).keys() <= ServerArguments.__dataclass_fields__.keys()
    launcher, _, flags = trainer.removeprefix("accelerate launch ").partition(" examples/train_math.py ")
    args = launch_command_parser().parse_args([*launcher.split(), "train.py"])
    assert (args.num_machines, args.num_processes, args.machine_rank) == (2, 8, 1)
    assert (args.main_process_ip, args.main_process_port) == ("a", 29500)
    assert Path(EXAMPLES.parent / args.config_file).is_file()
    parser = make_parser(plan_config(32))
    script_args, training_args, _ = parser.parse_args_and_config(flags.split())
    assert (training_args.vllm_mode, training_args.vllm_server_host) == ("server", "c")
    assert training_args.output_dir == str(tmp_path / "out")
    assert training_args.resume_from_checkpoint == "true"


def test_slurm_script_begins_anew_without_a_checkpoint(tmp_path):
    (tmp_path / "out").mkdir()
    settings = f"model_name_or_path: m\\noutput_dir: {tmp_path}/out\\n"
    done, (trainer, server) = run_sbatch(tmp_path, "recipe.yaml", settings=settings)
    assert done.returncode == 0, done.stderr
    assert "--resume_from_checkpoint" not in trainer
    assert "--model m --tensor_parallel_size 8 --gpu_memory_utilization 0.9" in server


@pytest.mark.slow
def test_slurm_script_ends_on_a_mistake_before_it_starts_anything(tmp_path):
    for arguments, nodes, message in [
        ([], "a b", "error: name a recipe"),
        ([RECIPE], "a", "ask for two nodes or more"),
        ([RECIPE, "--lerning_rate", "1"], "a b", "did you mean --learning_rate?"),
    ]:
        done, calls = run_sbatch(tmp_path, *arguments, nodes=nodes)
        assert done.returncode == 2
        assert message in done.stderr
        assert not calls


def test_slurm_script_is_sound():
    assert subprocess.run(["bash", "-n", SBATCH]).returncode == 0
    text = SBATCH.read_text()
    assert re.search(r"^#SBATCH --nodes=5 ", text, flags=re.MULTILINE), "4 nodes of 8 GPUs train the 8B recipe"
    for recipe in re.findall(r"examples/recipes/\S+\.yaml", text):
        assert (EXAMPLES.parent / recipe).is_file()
