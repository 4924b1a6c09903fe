"""Starts the processes of a test as forks of one that has imported PyTorch, Transformers and TRL already.

An import takes six seconds, and the tests start a hundred processes. A fork is a process of its own, with its own
environment, working folder and output. What a library reads from the environment while it is imported is that of the test run.

Run: python tests/helpers/fork_server.py; it reads a request in JSON from each line, and answers with a line.
"""

import gc
import json
import os
import runpy
import signal
import sys
import time
import traceback
from importlib.util import find_spec
from typing import Any


GRACE = 5.0  # seconds that the other processes have, after one has failed


def preload() -> None:
    """Import what takes long. No threads are started: a fork would not have them."""
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import torch.distributed.fsdp  # noqa: F401
    import trl.trainer.grpo_trainer  # noqa: F401

    import trl_forking.forking_grpo_trainer  # noqa: F401

    if find_spec("deepspeed"):
        import deepspeed  # noqa: F401
    gc.freeze()  # the garbage collection of a fork need not copy what is there


def run_script(script: str, arguments: list[str]) -> int:
    """Run a script as `python script arguments` does, and return its exit code."""
    sys.argv = [script, *arguments]
    sys.path[:0] = [os.path.dirname(script), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def start(request: dict[str, Any], rank: int) -> int:
    """Fork a process that runs the script, and return its number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # it is ignored where the test run is in the background
        for number, place in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
            os.dup2(os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
        os.environ.clear()
        os.environ.update(
            request["environment"] | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if request["ranks"] else {})
        )
        os.chdir(request["folder"])
        code = run_script(request["script"], request["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def kill(processes: list[int]) -> None:
    for process in processes:
        try:
            os.killpg(process, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(process, signal.SIGKILL)  # it has not come to its own group yet


def wait(processes: list[int], seconds: float) -> dict[int, int]:
    """Wait until all have ended. Kill the others when one has failed, and all when the time is over."""
    codes: dict[int, int] = {}
    end = time.monotonic() + seconds
    while len(codes) < len(processes):
        running = [process for process in processes if process not in codes]
        for process in running:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                codes[process] = os.waitstatus_to_exitcode(status)
                if codes[process]:
                    end = min(end, time.monotonic() + GRACE)
        if time.monotonic() > end:
            kill([process for process in processes if process not in codes])
            end = float("inf")
        time.sleep(0.02)
    return codes


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer
    preload()
    for line in sys.stdin:
        request = json.loads(line)
        start_time = time.monotonic()
        processes = [start(request, rank) for rank in range(max(request["ranks"], 1))]
        codes = wait(processes, request["seconds"])
        is_late = time.monotonic() - start_time > request["seconds"]
        print(
            json.dumps({"codes": [codes[process] for process in processes], "late": is_late}), file=answers, flush=True
        )


if __name__ == "__main__":
    main()
