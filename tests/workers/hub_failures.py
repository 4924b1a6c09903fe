"""What becomes of a run when the connection is cut, or the Hub refuses or is not there."""

import itertools
import logging
import os
import random
from contextlib import contextmanager

from huggingface_hub import constants
from transformers.utils.hub import hf_api

from helpers.hub_server import READER, WRITER
from trl_forking import ForkingGRPOTrainer
from trl_forking.run.checkpoints import is_complete
from workers.hub_runs import (
    KINDS,
    WARNINGS,
    build_trainer,
    catch,
    forget,
    hub,
    is_whole,
    leave_out_checkpoints,
    read_folder,
    read_pushed,
)


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
