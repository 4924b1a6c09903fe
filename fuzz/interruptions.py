"""A command that is interrupted at a random point, and goes on as it says: nothing is lost, and the end is the same.

Each run of a command is a fork of this process, which has imported everything before.
"""

import os
import random
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from trl_forking.analysis import read_records
from trl_forking.commands.main import main


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
GRPO = "grpo --config cpu_smoke --per_device_train_batch_size 8 --save_steps 1 --max_steps 6 --report_forks_every 0"
COLLECT = "--model_name_or_path countdown --num_prompts 16 --batch_size 2 --max_completion_length 24"
EVALUATE = "--model_name_or_path countdown --data countdown --num_problems 16 --num_generations 4 --batch_size 2"
FASTEST = 0.05  # seconds after the start, from which on a signal finds the command at work


class Command(NamedTuple):
    """A command line, what its folder holds at the end, and the flags with which it goes on after SIGKILL."""

    line: str
    read: Callable[[Path], object]
    find_way_on: Callable[[Path], str]


def read_training(folder: Path) -> object:
    return (folder / "model.safetensors").read_bytes()


def read_answers(folder: Path) -> object:
    return [repr(answer) for answer in read_records(folder)]


def read_evaluation(folder: Path) -> object:
    return [(folder / name).read_bytes() for name in ("eval_results.json", "evaluation.json")]


def resume_training(folder: Path) -> str:
    """Go on from the last whole checkpoint. Without one, the folder has nothing that could be lost."""
    has_checkpoint = any(folder.glob("checkpoint-*/trainer_state.json"))
    return "--resume_from_checkpoint true" if has_checkpoint else "--overwrite_output_dir"


COMMANDS = {
    "grpo": Command(f"{GRPO} --output_dir run", read_training, resume_training),
    "analyze": Command(f"analyze --prompts countdown {COLLECT} --output_dir run", read_answers, lambda folder: ""),
    "evaluate": Command(f"evaluate {EVALUATE} --output_dir run", read_evaluation, lambda folder: ""),
}


def start(line: str, folder: Path) -> int:
    """Start a command in a fork, in a folder. Its output goes into a file."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.chdir(folder)
        descriptor = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        main(shlex.split(line))
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run(line: str, folder: Path) -> float:
    """Run a command to its end, and return its seconds."""
    begin = time.monotonic()
    code = wait(start(line, folder))
    assert code == 0, f"{line}: exit code {code}\n{read_log(folder)}"
    return time.monotonic() - begin


def read_log(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")


@cache
def run_whole(name: str) -> tuple[float, object]:
    """Run a command without an interruption: its seconds, and what it made."""
    folder = Path(tempfile.mkdtemp(prefix="whole-"))
    command = COMMANDS[name]
    return run(command.line, folder), command.read(folder / "run")


def interrupt(line: str, folder: Path, seconds: float, number: signal.Signals) -> bool:
    """Run a command and send it a signal after some seconds. Return whether it was still at work."""
    process = start(line, folder)
    time.sleep(seconds)
    os.kill(process, number)
    code = wait(process)
    if code == 0:
        return False
    expected = -number if number == signal.SIGKILL else 128 + number
    assert code == expected, f"{line}: exit code {code} after {number.name}\n{read_log(folder)}"
    return True


def find_way_on(command: Command, folder: Path, number: signal.Signals) -> str:
    """Return the command that the interrupted one names, or after SIGKILL the same one, with the flag for resuming."""
    if number == signal.SIGKILL:
        return f"{command.line} {command.find_way_on(folder / 'run')}"
    log = read_log(folder)
    last = log.strip().splitlines()[-1]
    assert "Traceback" not in log and last.startswith("trl-forking "), f"{command.line}\n{log}"
    return last.removeprefix("trl-forking ")


def try_interruption(seed: int, folder: Path) -> dict[str, int]:
    """
    Interrupt a command once or twice, and let it go on.

    Raises:
        `AssertionError`: if it says no way on, ends with another exit code, or makes something else than without.
    """
    source = random.Random(seed)
    name, number = source.choice(list(COMMANDS)), source.choice(SIGNALS)
    command, (seconds, whole) = COMMANDS[name], run_whole(name)
    line, counts = command.line, {"interruptions": 0}
    for _ in range(source.choice([1, 2])):
        if not interrupt(line, folder, source.uniform(FASTEST, seconds), number):
            break
        counts["interruptions"] += 1
        line = find_way_on(command, folder, number)
    else:
        run(line, folder)
    assert command.read(folder / "run") == whole, f"seed {seed}: {name} after {number.name} ends otherwise"
    return counts | {f"of {name}": counts["interruptions"], f"by {number.name}": counts["interruptions"]}
