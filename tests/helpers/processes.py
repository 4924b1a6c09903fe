"""Starts worker scripts of the tests as real processes."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch


TESTS = Path(__file__).parents[1]
WORKERS = TESTS / "workers"


def build_environment(environment: dict | None = None) -> dict[str, str]:
    """The environment of a worker process, in which `helpers`, `workers` and this checkout are found."""
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    settings["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    return dict(os.environ | settings | (environment or {}))


def run_worker(
    script: str, *arguments: str, launcher: tuple[str, ...] = (), environment: dict | None = None, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run a script of tests/workers in a process of its own."""
    command = [sys.executable, *launcher, str(WORKERS / script), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=build_environment(environment), start_new_session=True, **pipes) as process:
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


@cache
def start_fork_server() -> subprocess.Popen:
    """Start the process whose forks run the scripts of this test process."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen(
        [sys.executable, str(TESTS / "helpers" / "fork_server.py")],
        env=build_environment(),
        start_new_session=True,
        **pipes,
    )
    atexit.register(server.kill)
    return server


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_forks(
    script: str | Path,
    *arguments: str,
    ranks: int = 0,
    environment: dict | None = None,
    folder: str | Path | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess:
    """Run a script in a fork of the server; with `ranks`, in as many that share one gloo group, as a launcher starts them."""
    path = WORKERS / script
    with tempfile.TemporaryDirectory() as output:
        files = {name: f"{output}/{name}" for name in ("stdout", "stderr")}
        group = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
        group["MASTER_PORT"] = str(find_free_port())
        request = {
            "script": str(path),
            "arguments": list(arguments),
            "ranks": ranks,
            "environment": build_environment((group if ranks else {}) | (environment or {})),
            "folder": str(folder or os.getcwd()),
            "seconds": timeout,
            **files,
        }
        server = start_fork_server()
        print(json.dumps(request), file=server.stdin, flush=True)
        answer = json.loads(server.stdout.readline())
        said = {name: Path(file).read_text() if os.path.exists(file) else "" for name, file in files.items()}
    if answer["late"]:
        raise subprocess.TimeoutExpired([str(path), *arguments], timeout, said["stdout"], said["stderr"])
    code = next((code for code in answer["codes"] if code), 0)
    return subprocess.CompletedProcess([str(path), *arguments], code, said["stdout"], said["stderr"])


def run_steps(script: str, output_file: Path, all_settings: list[dict], *arguments: str) -> list[dict]:
    """Run one step for each of the settings in two processes of a worker script and return what it recorded."""
    result = run_forks(script, str(output_file), json.dumps(all_settings), *arguments, ranks=2)
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
