"""Trains on the built-in task and pushes the model to a stand-in for the Hub, one process per group of scenarios.

Run: python tests/workers/hub_worker.py FOLDER SCENARIO ...; it writes what each scenario saw to FOLDER/results.json.
huggingface_hub reads the Hub's address from the environment when it is imported, so the worker starts the server first. If
the environment already has an address, another process runs the server.
"""

import io
import itertools
import json
import logging
import os
import random
import shlex
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from helpers.hub_server import READER, WRITER, HubServer


hub = HubServer().__enter__()
os.environ.setdefault("HF_ENDPOINT", hub.endpoint)
os.environ |= {"HF_TOKEN": WRITER, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

import torch  # noqa: E402
from huggingface_hub import constants  # noqa: E402
from huggingface_hub.utils import _http  # noqa: E402
from peft import LoraConfig  # noqa: E402
from PIL import Image  # noqa: E402
from transformers.utils.hub import hf_api  # noqa: E402

from helpers.processes import leave_together  # noqa: E402
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer  # noqa: E402
from trl_forking.countdown import (  # noqa: E402
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)
from trl_forking.run.checkpoints import is_complete  # noqa: E402


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


def full_model(folder):
    trainer = build_trainer(folder / "full")
    trainer.train()
    trainer.push_to_hub()
    pushed = read_pushed("me/full")
    (folder / "downloaded").mkdir()
    for path, content in pushed.items():
        (folder / "downloaded" / path).write_bytes(content)
    weights = type(load_countdown_model()).from_pretrained(folder / "downloaded").state_dict()
    same = all(torch.equal(weights[name], value) for name, value in trainer.model.state_dict().items())
    return {"paths": sorted(pushed), "whole": is_whole(folder / "full", "me/full"), "loads": same}


def adapter(folder):
    trainer = build_trainer(folder / "adapter", adapter=True, max_steps=2)  # the card draws a plot from two steps on
    trainer.train()
    trainer.push_to_hub()
    pushed, whole = read_pushed("me/adapter"), is_whole(folder / "adapter", "me/adapter")
    return {"paths": sorted(pushed), "whole": whole, "plot": describe_plot(pushed)}


def describe_plot(pushed: dict[str, bytes]) -> list:
    """Return format and size of the picture that arrived."""
    picture = Image.open(io.BytesIO(pushed["training.png"]))
    picture.load()
    return [picture.format, *picture.size]


def strategies(folder):
    seen = {}
    for kind, strategy in itertools.product(KINDS, ("end", "every_save", "checkpoint", "all_checkpoints")):
        name = f"{kind}-{strategy}"
        config = {"hub_always_push": True, "max_steps": 2, "hub_strategy": strategy, "push_to_hub": True}
        trainer = build_trainer(folder / name, kind == "adapter", hub_model_id=f"me/{name}", **config)
        trainer.train()
        seen[name] = {"after_training": sorted(read_pushed(f"me/{name}"))}
        trainer.save_model()
        copies = {
            "checkpoint": {"checkpoint_2": "last-checkpoint"},
            "all_checkpoints": {"checkpoint_1": "checkpoint-1", "checkpoint_2": "checkpoint-2"},
        }
        seen[name]["whole"] = is_whole(folder / name, f"me/{name}", **copies.get(strategy, {}))
        seen[name]["plot"] = describe_plot(read_pushed(f"me/{name}"))
        seen[name]["commits"] = hub.repositories[f"me/{name}"].commits
    return seen


class _Healer(logging.Handler):
    def emit(self, record):
        hub.heal()


def cuts_in_training(folder):
    """Cut the connection at a random byte of what the first save pushes; it holds again when the warning is out."""
    source, seen = random.Random(0), []
    logging.getLogger("trl_forking.hub.push").addHandler(_Healer(logging.WARNING))
    for kind in KINDS:
        uncut = folder / f"{kind}-uncut"
        before = hub.num_bytes
        push_while_training(uncut, "checkpoint")
        half = (hub.num_bytes - before) // 2  # of two saves; the first has more to push
        # Of the bytes of a save the first fifth is of the model's push, and most are of the checkpoint's.
        for strategy, most in itertools.product(("checkpoint", "all_checkpoints"), (half // 5, half)):
            run = folder / f"{kind}-{strategy}-{most}"
            trainer = push_while_training(run, strategy, cut_after=source.randrange(most))
            trial = {"run": run.name, "warnings": list(WARNINGS), "step": trainer.state.global_step}
            trial["cut_at"] = next(path for _, path, status in hub.requests if status == 0)
            first = {"Training in progress, step 1", "Training in progress, step 1, checkpoint"}
            trial["lost"] = sorted(first - set(hub.repositories[f"me/{run.name}"].commits))
            trial["unchanged"] = read_weights(run) == read_weights(uncut)
            trial["checkpoints"] = compare_checkpoints(run, read_pushed(f"me/{run.name}"))
            trainer.push_to_hub()
            pushed = leave_out_checkpoints(read_pushed(f"me/{run.name}"))
            trial["whole"] = pushed == leave_out_checkpoints(read_folder(run))
            seen.append(trial)
    return seen


def push_while_training(run, strategy: str, cut_after: int | None = None) -> ForkingGRPOTrainer:
    config = {"push_to_hub": True, "hub_always_push": True, "hub_strategy": strategy, "max_steps": 2}
    config |= {"adapter": run.name.startswith("adapter"), "learning_rate": 1e-2, "hub_model_id": f"me/{run.name}"}
    trainer = build_trainer(run, **config)
    for taken in (WARNINGS, hub.requests, hub.objects, hub.parts):  # what is there already is not uploaded again
        taken.clear()
    if cut_after is not None:
        hub.cut_after(cut_after)
    trainer.train()
    hub.heal()
    return trainer


def read_weights(run) -> dict[str, bytes]:
    """Return the weights of all complete checkpoints."""
    folders = [path.parent for path in run.glob("checkpoint-*/trainer_state.json") if is_complete(str(path.parent))]
    files = [path for folder in folders for path in folder.glob("*.safetensors")]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def compare_checkpoints(run, pushed: dict[str, bytes]) -> dict[str, bool]:
    """Return for every checkpoint that was pushed whether it is whole; `last-checkpoint` is to be the newest."""
    there = {path.split("/")[0] for path in pushed if "checkpoint" in path.split("/")[0]}
    seen = {}
    for name in there:
        files = {k.removeprefix(f"{name}/"): v for k, v in pushed.items() if k.startswith(f"{name}/")}
        seen[name] = files == read_folder(run / name.replace("last-checkpoint", "checkpoint-2"))
    return seen


def cuts(folder):
    """Cut the connection at ten random bytes of the upload; push again on a connection that holds."""
    source, seen = random.Random(0), []
    for name in ("adapter", "full"):
        repo_id = f"me/cut-{name}"
        trainer = build_trainer(folder / name, adapter=name == "adapter", hub_model_id=repo_id)
        trainer.train()
        before = hub.num_bytes
        trainer.push_to_hub()
        num_bytes, run = hub.num_bytes - before, read_folder(folder / name)
        for _ in range(5):
            forget(trainer)
            hub.cut_after(source.randrange(num_bytes))
            said, cut_at = catch(trainer.push_to_hub), hub.requests[-1][1]
            hub.heal()
            trial = {"said": said, "cut_at": cut_at, "half": read_pushed(repo_id) != {}}
            trial["unchanged"] = read_folder(folder / name) == run
            trainer.push_to_hub()
            seen.append(trial | {"whole": is_whole(folder / name, repo_id)})
    return seen


def one_cut(folder):
    """A connection that is cut once is taken up by huggingface_hub itself."""
    trainer = build_trainer(folder / "one")
    trainer.train()
    forget(trainer)
    hub.cut_after(500_000, num_cuts=1)
    trainer.push_to_hub()
    cut = [path for _, path, status in hub.requests if status == 0]
    return {"cut": cut, "whole": is_whole(folder / "one", "me/one")}


def failures(folder):
    trainer = build_trainer(folder / "failed", hub_model_id="me/failed")
    trainer.train()
    seen, weights = {}, folder / "failed" / "model.safetensors"
    for name, status, request in [
        ("create 401", 401, ""),
        ("create 403", 403, "repos/create"),
        ("create 503", 503, ""),
        ("preupload 401", 401, "preupload"),
        ("preupload 403", 403, "preupload"),
        ("batch 429", 429, "batch"),
        ("upload 500", 500, "PUT /lfs/"),
        ("upload 507", 507, "PUT /lfs/"),
        ("commit 409", 409, "/commit/"),
        ("commit 500", 500, "/commit/"),
    ]:
        weights.unlink(missing_ok=True)
        forget(trainer)
        hub.fail(status, request)
        seen[name] = {"said": catch(trainer.push_to_hub), "saved": weights.is_file()}
        hub.heal()
        trainer.push_to_hub()
        seen[name]["whole"] = is_whole(folder / "failed", "me/failed")
    return seen


@contextmanager
def unplugged():
    hf_api().endpoint = "http://127.0.0.1:9"  # nothing listens there
    yield
    hf_api().endpoint = hub.endpoint


def no_network(folder):
    trainer = build_trainer(folder / "unplugged")
    trainer.train()
    with unplugged():
        said = catch(trainer.push_to_hub)
    return {"said": said, "saved": (folder / "unplugged" / "model.safetensors").is_file()}


def before_training(folder):
    seen = {}

    def build(name, token=WRITER, **config):
        os.environ["HF_TOKEN"] = token or ""
        seen[name] = catch(build_trainer, folder / name, push_to_hub=True, **config)
        os.environ["HF_TOKEN"] = WRITER

    build("fine")
    build("no_token", token=None)
    build("wrong_token", token="hf_unknown")
    build("not_mine", hub_model_id="someone/model")
    build("name", hub_model_id="me/my run (3)")
    build("my run")
    build("fine", token=READER, hub_model_id="me/fine")  # a repository that can be seen, but not written to
    seen["reads_only"] = seen.pop("fine")
    hub.fail(503)
    build("trouble")
    hub.heal()
    with unplugged():
        build("no_network")
    constants.HF_HUB_OFFLINE = True
    build("offline")
    constants.HF_HUB_OFFLINE = False
    build("works")
    return seen


def in_training(folder):
    """The Hub fails while a run saves three times: the run ends as it would have, and is pushed afterwards."""
    seen, repo_id = {}, "me/troubled"
    trainer = build_trainer(
        folder / "troubled", push_to_hub=True, hub_strategy="checkpoint", hub_always_push=True, max_steps=3
    )
    WARNINGS.clear()
    hub.fail(503)
    trainer.train()
    seen["warnings"], seen["step"] = list(WARNINGS), trainer.state.global_step
    seen["checkpoints"] = sorted(path.name for path in (folder / "troubled").glob("checkpoint-*"))
    WARNINGS.clear()
    trainer.save_model()
    seen["warnings_of_saving"] = list(WARNINGS)
    seen["said"] = catch(trainer.push_to_hub)
    seen["pushed"] = sorted(read_pushed(repo_id))
    hub.heal()
    trainer.push_to_hub()
    seen["whole"] = is_whole(folder / "troubled", repo_id)
    return seen


def slow_hub(folder):
    """Uploads that take longer than a step: what is read for them is neither written over nor deleted."""
    seen = {}
    for name, config in {
        "every_push": {"hub_strategy": "all_checkpoints", "hub_always_push": True},
        "one_checkpoint": {"hub_strategy": "checkpoint", "save_total_limit": 1},
    }.items():
        config |= {"max_steps": 3, "learning_rate": 1e-2, "per_device_train_batch_size": 32}
        trainer = build_trainer(folder / name, push_to_hub=True, hub_model_id=f"me/{name}", **config)
        WARNINGS.clear()
        hub.delay = 0.2
        trainer.train()
        hub.heal()
        pushed = hub.repositories[f"me/{name}"].history
        steps = [int(path.name.split("-")[1]) for path in (folder / name).glob("checkpoint-*")]
        checkpoints = {step: read_folder(folder / name / f"checkpoint-{step}") for step in sorted(steps)}
        seen[name] = {"warnings": list(WARNINGS), "steps": sorted(steps), "whole": []}
        seen[name]["commits"] = list(pushed)
        seen[name]["different"] = len({files["model.safetensors"] for files in checkpoints.values()})
        for step, files in checkpoints.items():
            commit = f"Training in progress, step {step}"
            model = pushed.get(commit, {}).get("model.safetensors") == files["model.safetensors"]
            inside = "last-checkpoint/" if name == "one_checkpoint" else f"checkpoint-{step}/"
            there = pushed.get(f"{commit}, checkpoint", {})
            there = {k.removeprefix(inside): v for k, v in there.items() if k.startswith(inside)}
            seen[name]["whole"].append(model and there == files)
    return seen


def secret(folder):
    """The token that is in the training arguments is in nothing that is pushed."""
    os.environ["HF_TOKEN"] = ""
    trainer = build_trainer(folder / "secret", push_to_hub=True, hub_token=WRITER, hub_strategy="checkpoint")
    trainer.train()
    trainer.save_model()
    trainer.push_to_hub()
    os.environ["HF_TOKEN"] = WRITER
    files = read_pushed("me/secret")
    arguments = torch.load(folder / "secret" / "training_args.bin", weights_only=False)
    leaks = [path for path, content in files.items() if WRITER.encode() in content]
    return {"paths": sorted(files), "leaks": leaks, "token": arguments.hub_token, "own": trainer.args.hub_token}


def shell_command(folder):
    """The command in the sentence pushes what is on disk."""
    trainer = build_trainer(folder / "run of mine", hub_model_id="me/by-shell")
    trainer.train()
    hub.fail(500, "/commit/")
    said = catch(trainer.push_to_hub)
    hub.heal()
    output = run_shell(said[1].split("`")[1])
    return {"output": output, "whole": is_whole(folder / "run of mine", "me/by-shell")}


def run_shell(text: str) -> str:
    command = shlex.split(text)
    hf = Path(sys.executable).parent / command[0]
    result = subprocess.run([str(hf), *command[1:]], capture_output=True, text=True)
    return result.stdout + result.stderr


def private(folder):
    """The command makes a private repository where the run would have made one."""
    trainer = build_trainer(folder / "private", hub_private_repo=True)
    hub.fail(503, "repos/create")
    said = catch(trainer.push_to_hub)
    hub.heal()
    result = run_shell(said[1].split("`")[1])
    repository = hub.repositories["me/private"]
    seen = {"private": repository.is_private, "whole": is_whole(folder / "private", "me/private"), "output": result}
    trainer.args.hub_private_repo, trainer.hub_model_id = False, None
    hub.fail(503, "repos/create")
    seen["public"] = catch(trainer.push_to_hub)[1]
    seen["asked_for"] = catch(trainer.push_to_hub, private=True)[1]
    hub.heal()
    return seen


def completions(folder):
    """Prompts and answers are pushed where they are logged; the command can leave them out."""
    trainer = build_trainer(folder / "logged", log_completions=True)
    trainer.train()
    trainer.push_to_hub()
    patterns = " ".join(f"--exclude '{pattern}'" for pattern in ("_*", "checkpoint-*", "completions/*"))
    output = run_shell(f"hf upload me/without {shlex.quote(str(folder / 'logged'))} . {patterns}")
    return {"paths": sorted(read_pushed("me/logged")), "without": sorted(read_pushed("me/without")), "output": output}


def xet(folder):
    """With hf_xet, which this stand-in does not speak: the sentence is as clear, and nothing is lost."""
    trainer = build_trainer(folder / "xet")
    trainer.train()
    constants.HF_HUB_DISABLE_XET = False
    said = catch(trainer.push_to_hub)
    constants.HF_HUB_DISABLE_XET = True
    trainer.push_to_hub()
    return {"said": said, "whole": is_whole(folder / "xet", "me/xet")}


def two_processes(folder):
    """Only the main process talks to the Hub; where that fails, the other one goes on."""
    config = {"push_to_hub": True, "hub_strategy": "checkpoint", "hub_always_push": True}
    trainer = build_trainer(folder / "two", hub_model_id="me/two", **config)
    trainer.train()
    trainer.save_model()
    trainer.push_to_hub()
    os.environ["HF_TOKEN"] = "hf_unknown"
    seen = {"late": catch(trainer.push_to_hub)}
    os.environ["HF_TOKEN"] = WRITER
    trainer.accelerator.wait_for_everyone()
    trainer.args.hub_model_id, trainer.hub_model_id = "someone/two", None
    seen["not_mine"] = catch(trainer.push_to_hub)
    trainer.accelerator.wait_for_everyone()
    return seen


def two_processes_end(folder):
    """The Hub refuses at construction: no process may be left behind."""
    build_trainer(folder / "end", push_to_hub=True, hub_model_id="someone/two")


def main() -> None:
    folder, *names = sys.argv[1:]
    folder = Path(folder) / os.environ.get("RANK", "")
    folder.mkdir(exist_ok=True)
    results = {}
    for name in names:
        start = time.time()
        try:
            shared = folder.parent if "RANK" in os.environ else folder / name
            shared.mkdir(exist_ok=True)
            results[name] = globals()[name](shared)
        except Exception:
            if name == "two_processes_end":
                raise
            results[name] = {"error": traceback.format_exc()}
            hub.heal()
        print(f"{name}: {time.time() - start:.1f} s", flush=True)
        (folder / "results.json").write_text(json.dumps(results))
    if "RANK" in os.environ:
        leave_together()


if __name__ == "__main__":
    main()
