"""What this library relies on in TRL's scores and losses. Each test fails with a sentence that names what has changed."""

import inspect
import re

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import LOSS_TYPES, build_dataset, build_trainer, roll_out
from trl_forking.selection import NORMALIZER_EXTENT
from trl_forking.selection.metrics import find_clipped


def build(output_dir, trainer_class=GRPOTrainer, **settings):
    """TRL's own trainer with four prompts, whose sixteen answers are one batch."""
    one_batch = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "epsilon_high": 0.28}
    return build_trainer(
        output_dir, trainer_class, GRPOConfig, train_dataset=build_dataset(4), **(one_batch | settings)
    )


# Scores ---------------------------------------------------------------------------------------------------------------


def test_scoring_function_keeps_its_signature():
    parameters = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    expected = ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"]
    assert parameters[:7] == expected, (
        "TRL's GRPOTrainer._get_per_token_logps_and_entropies no longer begins with (model, input_ids, attention_mask, "
        f"logits_to_keep, batch_size, compute_entropy) but with {parameters[1:7]}."
    )


def test_scoring_function_returns_logps_entropies_and_aux_loss(tmp_path):
    trainer = build(tmp_path)
    ids = torch.randint(3, 32, (2, 6))
    scores = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, torch.ones_like(ids), 4, compute_entropy=True
    )
    assert len(scores) == 3 and scores[0].shape == scores[1].shape == (2, 4) and scores[2] is None, (
        "TRL's GRPOTrainer._get_per_token_logps_and_entropies no longer returns (logps (B, T), entropies (B, T), aux_loss)."
    )
    assert not scores[1].isnan().any() and (scores[1] >= 0).all()


class Listener(GRPOTrainer):
    """Notes how the scoring function is called."""

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)


def test_scoring_function_is_called_as_we_take_it(tmp_path):
    """`ForkingGRPOTrainer` reads shapes from what comes by position, and asks for entropies by keyword."""
    trainer = build(tmp_path, Listener, num_iterations=2)
    trainer.calls = []
    batch = roll_out(trainer)
    assert len(trainer.calls) == 1, f"TRL scores a rollout {len(trainer.calls)} times, and no longer once."
    loss_of(trainer, batch)
    assert len(trainer.calls) == 2, (
        f"TRL's GRPOTrainer._compute_loss scores {len(trainer.calls) - 1} times, and no longer once: "
        "ForkingGRPOTrainer takes log-probabilities and entropies from the one pass of the loss."
    )
    for args, kwargs in trainer.calls:
        shapes = [tuple(argument.shape) for argument in args[1:3]]
        length = batch["prompt_ids"].size(1) + batch["completion_ids"].size(1)
        assert args[0] is trainer.model and shapes == [(16, length)] * 2, (
            "TRL no longer passes (model, input_ids, attention_mask, logits_to_keep) to its scoring function by position."
        )
        assert args[3:] == (batch["completion_ids"].size(1),) and not {"model", "input_ids"} & set(kwargs), (
            "TRL no longer passes logits_to_keep, the length of the answers, as the fourth argument of its scoring function."
        )
    assert trainer.calls[1][1].get("compute_entropy") is True, (
        "TRL's GRPOTrainer._compute_loss no longer asks for entropies by compute_entropy=True."
    )


# Losses ---------------------------------------------------------------------------------------------------------------


CLIP_RATIOS = ("low_mean", "high_mean", "region_mean", "low_min", "high_max")


def loss_of(trainer, batch, **changes):
    return trainer._compute_loss(trainer.model, batch | changes)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_loss_takes_advantages_per_token(tmp_path, loss_type):
    trainer = build(tmp_path, loss_type=loss_type)
    batch = roll_out(trainer)
    per_token = batch["advantages"].unsqueeze(1).expand(batch["completion_ids"].shape)
    assert loss_of(trainer, batch, advantages=per_token) == loss_of(trainer, batch), (
        f"TRL's GRPOTrainer._compute_loss no longer takes advantages of shape (B, T) for loss_type={loss_type!r}."
    )


def test_loss_reads_advantages_after_scoring(tmp_path):
    class Late(GRPOTrainer):
        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            self.inputs["advantages"] = self.inputs["advantages"] * 0
            return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    trainer = build(tmp_path, Late, loss_type="dapo")
    trainer.inputs = {"advantages": 0}
    batch = roll_out(trainer)
    trainer.inputs = batch
    assert trainer._compute_loss(trainer.model, batch) == 0, (
        "TRL's GRPOTrainer._compute_loss now reads inputs['advantages'] before it scores the answers; "
        "selection_scope='micro_batch' sets them during scoring."
    )


@pytest.mark.parametrize("loss_type", [name for name, extent in NORMALIZER_EXTENT.items() if extent == "batch"])
def test_batch_normalized_losses_divide_by_num_items_in_batch(tmp_path, loss_type):
    trainer = build(tmp_path, loss_type=loss_type)
    batch = roll_out(trainer)
    halved = loss_of(trainer, batch, num_items_in_batch=2 * batch["num_items_in_batch"])
    assert batch["num_items_in_batch"] == batch["completion_mask"].sum() and torch.allclose(
        2 * halved, loss_of(trainer, batch)
    ), (
        f"TRL's loss_type={loss_type!r} no longer divides by inputs['num_items_in_batch'], the tokens of the rollout batch."
    )


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_normalizer_counts_over_the_extent_we_think(tmp_path, loss_type):
    """Repeating one answer's tokens under the loss mask shows whether an answer, a micro-batch or nothing is counted."""
    trainer = build(tmp_path, loss_type=loss_type, epsilon_high=5.0)
    batch = roll_out(trainer)
    batch["advantages"] = batch["advantages"] + 1.0  # those of a group add up to zero, whatever that is divided by
    first_only = torch.zeros_like(batch["completion_mask"])
    first_only[:, 0] = 1
    loss = loss_of(trainer, batch, tool_mask=first_only)
    logps = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
        torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
        batch["completion_ids"].size(1),
    )[0][:, 0]
    terms = batch["advantages"] * (logps if loss_type in ("cispo", "vespo") else 1.0)
    if loss_type == "sapo":
        terms = terms * torch.where(batch["advantages"] > 0, 2 / 1.0, 2 / 1.05)
    divisor = {
        "batch": batch["num_items_in_batch"],
        "micro_batch": len(terms),
        "sequence": len(terms),
        None: len(terms) * (trainer.max_completion_length if loss_type == "dr_grpo" else 1),
    }[NORMALIZER_EXTENT[loss_type]]
    assert torch.allclose(loss, -terms.sum() / divisor, atol=1e-6), (
        f"TRL's loss_type={loss_type!r} no longer normalizes over {NORMALIZER_EXTENT[loss_type]!r}."
    )


def test_loss_types_are_the_ones_we_know():
    # TRL has no list of them; its help text names each in quotes before its description.
    field = GRPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    named = set(re.findall(r"'(\w+)'(?: \(default\))?:", field))
    assert named == set(NORMALIZER_EXTENT), f"TRL's loss types are {sorted(named)}; NORMALIZER_EXTENT has others."


def test_tool_mask_narrows_the_loss_mask(tmp_path):
    trainer = build(tmp_path, importance_sampling_level="sequence", loss_type="grpo")
    batch = roll_out(trainer)
    nothing = torch.zeros_like(batch["completion_mask"])
    assert loss_of(trainer, batch, tool_mask=nothing) == 0, (
        "TRL's GRPOTrainer._compute_loss no longer multiplies completion_mask by inputs['tool_mask']."
    )


def test_own_mask_is_switched_by_the_attribute(tmp_path):
    trainer = build(tmp_path, loss_type="dapo", top_entropy_quantile=0.2)
    batch = roll_out(trainer)
    masked = loss_of(trainer, batch)
    trainer.top_entropy_quantile = 1.0
    assert loss_of(trainer, batch) != masked, (
        "TRL no longer reads the attribute GRPOTrainer.top_entropy_quantile in its loss: its own mask would stay on."
    )


@pytest.mark.parametrize("loss_type", ["dapo", "cispo"])
def test_clipped_tokens_are_those_we_count(tmp_path, loss_type):
    """`forking/clip_fraction` counts with `find_clipped`, and `correct_clip_ratios` rescales TRL's shares by name."""
    trainer = build(tmp_path, loss_type=loss_type)
    batch, metrics = roll_out(trainer), trainer._metrics["train"]
    trainer.epsilon_high = 1.28 if loss_type == "cispo" else 0.28
    metrics.clear()
    loss_of(trainer, batch)
    at_first = {name: values[-1] for name, values in metrics.items() if "clip" in name}
    assert set(at_first.values()) == {0.0}, "TRL counts clipped tokens in an on-policy batch, where every ratio is 1."
    names = {"cispo_clip_ratio"} if loss_type == "cispo" else {f"clip_ratio/{kind}" for kind in CLIP_RATIOS}
    assert set(at_first) == names, f"TRL logs clipped tokens as {sorted(at_first)}, and no longer as {sorted(names)}."
    assert all(len(values) == 1 for values in metrics.values()), (
        "TRL's GRPOTrainer._compute_loss no longer adds one value to each of its metrics: we change the newest."
    )
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, attention_mask, batch["completion_ids"].size(1), compute_entropy=True
    )
    log_ratio = torch.linspace(-1, 1, logps.numel()).view(logps.shape)
    loss_of(trainer, batch, old_per_token_logps=logps.detach() - log_ratio)
    limits = (trainer.epsilon_low, trainer.epsilon_high, loss_type)
    clipped = find_clipped(log_ratio.exp(), batch["advantages"].unsqueeze(1), *limits)
    mask = batch["completion_mask"].bool()
    name = "cispo_clip_ratio" if loss_type == "cispo" else "clip_ratio/region_mean"
    assert metrics[name][-1] == pytest.approx((clipped & mask).sum().item() / mask.sum().item()), (
        f"TRL's {name} with loss_type={loss_type!r} is no longer the share of the tokens that find_clipped finds, with "
        "the ratio to inputs['old_per_token_logps']."
    )
    assert metrics["entropy"][-1] == pytest.approx(entropies[mask].mean().item(), rel=1e-5), (
        "TRL's metric 'entropy' is no longer the mean over the tokens of the loss mask: we put that of counted tokens in."
    )


def test_metrics_are_kept_by_mode(tmp_path):
    trainer = build(tmp_path)
    batch = roll_out(trainer)
    trainer._metrics["train"].clear()
    trainer.model.eval()
    loss_of(trainer, batch)
    assert "entropy" in trainer._metrics["eval"] and not trainer._metrics["train"], (
        "TRL no longer keeps its metrics in GRPOTrainer._metrics['train' or 'eval'] by whether the model is in training mode."
    )


@pytest.mark.parametrize("loss_type", sorted(set(LOSS_TYPES) - {"vespo"}))
def test_ratio_to_vllm_multiplies_the_loss_of_a_token(tmp_path, loss_type):
    """On dropped tokens we set it to 1, so that no infinite ratio meets an advantage of 0."""
    trainer = build(tmp_path, loss_type=loss_type)
    batch = roll_out(trainer)
    loss = loss_of(trainer, batch)
    trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
    ratio = torch.full(batch["completion_ids"].shape, 2.0)
    assert torch.allclose(loss_of(trainer, batch, importance_sampling_ratio=ratio), 2 * loss), (
        f"TRL's loss_type={loss_type!r} no longer multiplies the loss of a token by inputs['importance_sampling_ratio']."
    )
