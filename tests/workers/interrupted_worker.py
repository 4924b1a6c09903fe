"""Interrupts commands at a point of their work, and writes what they answered.

Run: python tests/workers/interrupted_worker.py FOLDER

Each run of a command is a fork of this process, which has imported everything before: a trial takes a second, not ten.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import trl_forking.commands.analyze
import trl_forking.commands.demo
import trl_forking.commands.grpo  # noqa: F401
from trl_forking.commands.main import main
from trl_forking.countdown import load_countdown_model


SMALL = ["--per_device_train_batch_size", "8", "--save_steps", "1", "--max_steps", "200", "--report_forks_every", "0"]
GRPO = ["grpo", "--config", "cpu_smoke", *SMALL, "--output_dir", "grpo"]
ANALYZE = [
    "analyze",
    "--model_name_or_path",
    "countdown",
    "--prompts",
    "countdown",
    "--num_prompts",
    "24",
    "--batch_size",
    "2",
]
ANALYZE += ["--output_dir", "analyze", "--overwrite"]
DEMO = ["demo", "--max_steps", "30", "--output_dir", "demo"]
# By name: the command line, the file whose presence says when, the signal.
TRIALS = {
    "grpo": (GRPO, "grpo/checkpoint-2/trainer_state.json", signal.SIGINT),
    "grpo again": (
        [*GRPO, "--resume_from_checkpoint", "true"],
        "grpo/checkpoint-4/trainer_state.json",
        signal.SIGTERM,
    ),
    "grpo early": ([*GRPO[:-1], "early"], "", signal.SIGTERM),
    "analyze": (ANALYZE, "analyze/answers/*1.parquet", signal.SIGINT),
    "analyze again": ([flag for flag in ANALYZE if flag != "--overwrite"], None, None),
    "demo": (DEMO, "demo/completions/completions_00002.parquet", signal.SIGTERM),
    "closed pipe": (["analyze", "--help-all"], None, None),
}


def start(arguments: list[str], log: Path, closes_pipe: bool) -> int:
    """Start a command in a fork; its output goes into a file, or its standard output to nobody."""
    process = os.fork()
    if process:
        return process
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if closes_pipe:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
    code = 0
    try:
        main(arguments)
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                code = 1
        os._exit(code)


def wait_for(pattern: str, process: int) -> None:
    end = time.monotonic() + 60
    while pattern and not list(Path().glob(pattern)) and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0 if pattern else 0.1)


def run(name: str) -> dict:
    arguments, pattern, number = TRIALS[name]
    log = Path(f"{name}.log")
    process = start(arguments, log, closes_pipe=name == "closed pipe")
    if number is not None:
        wait_for(pattern, process)
        os.kill(process, number)
    return {"code": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), "text": log.read_text(errors="replace")}


if __name__ == "__main__":
    load_countdown_model()
    os.chdir(sys.argv[1])
    Path("results.json").write_text(json.dumps({name: run(name) for name in TRIALS}))
