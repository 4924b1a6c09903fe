"""Starts worker scripts of the tests as real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch


TESTS = Path(__file__).parent


def run_processes(
    script: str, num_processes: int, *arguments: str, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run a script of this folder in `num_processes` processes that share one gloo group on the CPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent), environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, str(TESTS / script), *arguments], capture_output=True, text=True, timeout=timeout, env=environment
    )


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
