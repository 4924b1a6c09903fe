"""The stand-in for the Hub that this process runs, and runs of the built-in task that are pushed to it.

huggingface_hub reads the Hub's address from the environment when it is imported, so this module starts the server first. It
is to be imported before huggingface_hub. If the environment already has an address, another process runs the server.
"""

import logging
import os
import time
from types import SimpleNamespace

from helpers.hub_server import WRITER, HubServer


hub = HubServer().__enter__()
os.environ.setdefault("HF_ENDPOINT", hub.endpoint)
os.environ |= {"HF_TOKEN": WRITER, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

from huggingface_hub.utils import _http  # noqa: E402
from peft import LoraConfig  # noqa: E402

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer  # noqa: E402
from trl_forking.countdown import (  # noqa: E402
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)


# huggingface_hub waits up to 8 s between its six tries, for which no test has the time.
_http.time = SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic)

KINDS = ("full", "adapter")
WARNINGS: list[str] = []


class _Recorder(logging.Handler):
    def emit(self, record):
        WARNINGS.append(record.getMessage())


for name in ("hub", "run.run_folder"):
    logging.getLogger(f"trl_forking.{name}").addHandler(_Recorder(logging.WARNING))


def build_trainer(folder, adapter: bool = False, **config) -> ForkingGRPOTrainer:
    settings = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 52, "max_steps": 1}
    settings |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True}
    settings |= {"report_to": "none", "save_strategy": "steps", "save_steps": 1, "logging_steps": 1}
    args = ForkingGRPOConfig(str(folder), **(settings | config))
    return ForkingGRPOTrainer(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=args,
        train_dataset=make_countdown_dataset("train", num_problems=8, seed=0),
        processing_class=load_countdown_tokenizer(),
        peft_config=LoraConfig(r=2, task_type="CAUSAL_LM") if adapter else None,
    )


def read_folder(folder) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def read_pushed(repo_id: str) -> dict[str, bytes]:
    repository = hub.repositories.get(repo_id)
    return {} if repository is None else {k: v for k, v in repository.files.items() if k != ".gitattributes"}


def leave_out_checkpoints(files: dict[str, bytes]) -> dict[str, bytes]:
    return {
        path: content for path, content in files.items() if not path.startswith(("checkpoint-", "last-checkpoint/"))
    }


def is_whole(folder, repo_id: str, **copies: str) -> bool:
    """Whether the repository holds the run folder, and the checkpoints that `copies` names, byte for byte."""
    expected = leave_out_checkpoints(read_folder(folder))
    for checkpoint, path_in_repo in copies.items():
        files = read_folder(folder / checkpoint.replace("_", "-"))
        expected |= {f"{path_in_repo}/{path}": content for path, content in files.items()}
    return bool(expected) and read_pushed(repo_id) == expected


def catch(function, *args, **kwargs) -> list[str]:
    """Call a function and return the type and sentence of what it raised."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        cause = type(error.__cause__).__name__ if error.__cause__ is not None else None
        return [type(error).__name__, str(error), cause]
    return []


def forget(trainer) -> None:
    """Let the server and the trainer forget the repository and all uploads."""
    hub.repositories.pop(trainer.args.hub_model_id, None)
    hub.objects.clear()
    hub.parts.clear()
    hub.requests.clear()
    trainer.hub_model_id = None
