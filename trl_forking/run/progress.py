"""What the next step of a run depends on beyond Transformers' own: saved by every process, and taken up again."""

import logging
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object, send_to_device

from ..settings.plain import make_plain
from .checkpoint_files import get_identity
from .identity import find_identity
from .live_settings import CHANGEABLE, describe_changes
from .trainer_protocol import ForkingTrainer


logger = logging.getLogger(__name__)

# Settings that a rollout is made with. Where one of them is another, what is left of the rollout cannot be trained.
LAYOUT = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "num_generations"),
    *("num_iterations", "beta", "temperature", "loss_type", "importance_sampling_level", "entropy_coef"),
    *("use_adaptive_entropy", "scale_rewards", "multi_objective_aggregation", "reward_weights"),
    *("mask_truncated_completions", "off_policy_mask_threshold", "use_vllm", "vllm_importance_sampling_correction"),
    *("vllm_importance_sampling_mode", "vllm_importance_sampling_clip_min", "vllm_importance_sampling_clip_max"),
    "cast_lm_head_to_fp32",
)
_PARTS: dict[str, tuple[type, ...]] = {
    "identity": (dict,),
    "layout": (dict,),
    "settings": (dict,),
    "step": (int,),
    "rollout": (list, type(None)),
    "token_counts": (dict, type(None)),
    "resumed_at": (list,),
}


def save_progress(trainer: ForkingTrainer, checkpoint: str) -> None:
    """
    Save what the next step of this rank depends on: its place in the rollout, and the counts of its tokens.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer between two steps.
        checkpoint (`str`):
            Folder to write to.
    """
    progress = {
        "identity": _identify(trainer),
        "layout": _get_layout(trainer),
        "settings": {name: make_plain(getattr(trainer.rollout_settings, name)) for name in CHANGEABLE},
        "step": trainer._step,
        "rollout": None if trainer.is_rollout_trained else trainer._buffered_inputs,
        # The same on every rank, and large: the first one's is enough.
        "token_counts": trainer.selector.token_counts.state_dict() if trainer.accelerator.process_index == 0 else None,
        "resumed_at": list(trainer.resumed_at),
    }
    Path(checkpoint).mkdir(parents=True, exist_ok=True)
    torch.save(progress, _get_path(trainer, checkpoint))


def load_progress(trainer: ForkingTrainer, checkpoint: str) -> None:
    """
    Take up what [`save_progress`] saved; a checkpoint of another trainer has nothing of the kind.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer before its first step.
        checkpoint (`str`):
            Folder to read from.

    Raises:
        `ValueError`: in every process, if the part of one is missing or damaged, or of another run.
    """
    own, problem = _read_own(trainer, checkpoint)
    # What all have to agree on is what the first process saved: there may be more of them now than there were.
    (common,) = broadcast_object_list([own and {name: own[name] for name in own if name != "rollout"}])
    trainer.resumed_at = [*(common or {}).get("resumed_at", []), trainer.state.global_step]
    is_continued = common is not None and not _find_differences(trainer, common["layout"])
    if problem is None and is_continued and own is None:
        problem = f"{_get_path(trainer, checkpoint)} is missing"
    if problem is None and own is not None and common is not None and own["identity"] != common["identity"]:
        problem = f"{_get_path(trainer, checkpoint)} is of another run or step than the part of the first process"
    # All ranks raise, whoever found it: one that went on would wait for the others for ever.
    if problems := gather_object([] if problem is None else [problem]):
        raise ValueError(
            f"{problems[0]}: copy the checkpoint again from where it was saved, or resume from another one (every process "
            "needs its own part of the checkpoint it goes on from)."
        )
    if common is not None:
        _take_up(trainer, checkpoint, common, own)


def _take_up(trainer: ForkingTrainer, checkpoint: str, common: dict[str, Any], own: dict[str, Any] | None) -> None:
    trainer.selector.token_counts.load_state_dict(common["token_counts"])
    if differences := _find_differences(trainer, common["layout"]):
        logger.warning(
            f"{checkpoint} is from another batch layout ({differences}): what is left of its rollout is not trained."
        )
        return
    trainer._step = common["step"]
    if own is not None and own["rollout"] is not None:
        trainer._buffered_inputs = [_send(batch, trainer.accelerator.device) for batch in own["rollout"]]
        trainer.continue_with_settings(common["settings"])


def _read_own(trainer: ForkingTrainer, checkpoint: str) -> tuple[dict[str, Any] | None, str | None]:
    """Read the part of this process, or say what is wrong with it."""
    path, identity = _get_path(trainer, checkpoint), get_identity(trainer.state.stateful_callbacks)
    if not path.is_file():
        was_saved = path.name in (identity.get("files") or {})
        return None, f"{path} is missing" if was_saved else None
    try:
        progress = _upgrade(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises errors of many types
        return None, f"{path} cannot be read ({type(error).__name__})"
    if not isinstance(progress, dict) or not all(
        isinstance(progress.get(name, ...), types) for name, types in _PARTS.items()
    ):
        return None, f"{path} does not have what this version of trl-forking saves"
    if identity and progress["identity"] and progress["identity"].get("run") != identity.get("run"):
        return None, f"{path} is of another run than its checkpoint"
    return progress, None


def _upgrade(progress: Any) -> Any:
    """Read what versions before 0.1.0 saved, for runs that began with one of them."""
    if isinstance(progress, dict) and isinstance(progress.get("layout"), list):
        names = ("num_processes", *LAYOUT[: len(progress["layout"]) - 1])
        progress["layout"] = dict(zip(names, progress["layout"], strict=False))
        progress |= {"identity": {}, "settings": {}}
    return progress


def _send(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    # The selection's metrics are float64, which Apple's GPUs do not have.
    return send_to_device(batch, device, skip_keys=[name for name in batch if name.startswith("forking/")])


def _get_path(trainer: ForkingTrainer, checkpoint: str) -> Path:
    return Path(checkpoint) / f"forking_progress_{trainer.accelerator.process_index}.pt"


def _identify(trainer: ForkingTrainer) -> dict[str, Any]:
    return {"run": find_identity(trainer.callback_handler.callbacks).run, "step": int(trainer.state.global_step)}


def _get_layout(trainer: ForkingTrainer) -> dict[str, Any]:
    settings = {name: make_plain(getattr(trainer.args, name)) for name in LAYOUT if hasattr(trainer.args, name)}
    return {"num_processes": trainer.accelerator.num_processes, **settings}


def _find_differences(trainer: ForkingTrainer, saved: dict[str, Any]) -> str:
    """Name the settings of the layout that are others now; nothing where none is."""
    now = _get_layout(trainer)
    return describe_changes(saved, {name: now.get(name) for name in saved})
