"""Starts worker scripts of the tests as real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch


TESTS = Path(__file__).parents[1]
WORKERS = TESTS / "workers"


def run_worker(
    script: str, *arguments: str, launcher: tuple[str, ...] = (), environment: dict | None = None, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run a script of tests/workers in a process of its own, in which `helpers`, `workers` and this checkout are found."""
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    settings["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, *launcher, str(WORKERS / script), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | settings | (environment or {})
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # the launcher alone would leave its processes running
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def run_processes(
    script: str, num_processes: int, *arguments: str, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run a script of tests/workers in `num_processes` processes that share one gloo group on the CPU."""
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}")
    return run_worker(script, *arguments, launcher=launcher, timeout=timeout)


def run_steps(script: str, output_file: Path, all_settings: list[dict], *arguments: str) -> list[dict]:
    """Run one step for each of the settings in two processes of a worker script and return what it recorded."""
    result = run_processes(script, 2, str(output_file), json.dumps(all_settings), *arguments)
    assert result.returncode == 0, result.stdout[-2000:] + "\n".join(
        line for line in result.stderr.splitlines() if "Warning" not in line
    )
    return torch.load(output_file)


def leave_together() -> None:
    """End a worker process at once, when all have come here.

    The gloo threads of torch 2.13 now and then abort the interpreter while it shuts down ("terminate called without an
    active exception"), which would fail a test that has passed.
    """
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
