"""What a run pushes, and how it can be pushed again in a shell."""

import io
import itertools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from huggingface_hub import constants
from PIL import Image

from helpers.hub_server import WRITER
from trl_forking.countdown import load_countdown_model
from workers.hub_runs import KINDS, WARNINGS, build_trainer, catch, hub, is_whole, read_folder, read_pushed


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
