"""What this library relies on in TRL. Each test fails with a sentence that names the behaviour that has changed."""

import inspect
import re
from pathlib import Path

import pytest
import torch
from tiny import LOSS_TYPES, NUM_GENERATIONS, NUM_PROMPTS, build_trainer, roll_out
from transformers.trainer import TRAINER_STATE_NAME
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

from trl_forking.selection import NORMALIZER_EXTENT


TRL = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "epsilon_high": 0.28}
ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}


def test_scoring_function_keeps_its_signature():
    parameters = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    expected = ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"]
    assert parameters[:7] == expected, (
        "TRL's GRPOTrainer._get_per_token_logps_and_entropies no longer begins with (model, input_ids, attention_mask, "
        f"logits_to_keep, batch_size, compute_entropy) but with {parameters[1:7]}."
    )


def test_scoring_function_returns_logps_entropies_and_aux_loss(tmp_path):
    trainer = build_trainer(tmp_path, **TRL, **ONE_BATCH)
    ids = torch.randint(3, 32, (2, 6))
    scores = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, torch.ones_like(ids), 4, compute_entropy=True
    )
    assert len(scores) == 3 and scores[0].shape == scores[1].shape == (2, 4) and scores[2] is None, (
        "TRL's GRPOTrainer._get_per_token_logps_and_entropies no longer returns (logps (B, T), entropies (B, T), aux_loss)."
    )
    assert not scores[1].isnan().any() and (scores[1] >= 0).all()


def loss_of(trainer, batch, **changes):
    return trainer._compute_loss(trainer.model, batch | changes)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_loss_takes_advantages_per_token(tmp_path, loss_type):
    trainer = build_trainer(tmp_path, **TRL, **ONE_BATCH, loss_type=loss_type)
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

    trainer = build_trainer(tmp_path, **TRL | {"trainer_class": Late}, **ONE_BATCH, loss_type="dapo")
    trainer.inputs = {"advantages": 0}
    batch = roll_out(trainer)
    trainer.inputs = batch
    assert trainer._compute_loss(trainer.model, batch) == 0, (
        "TRL's GRPOTrainer._compute_loss now reads inputs['advantages'] before it scores the answers; "
        "selection_scope='micro_batch' sets them during scoring."
    )


@pytest.mark.parametrize("loss_type", [name for name, extent in NORMALIZER_EXTENT.items() if extent == "batch"])
def test_batch_normalised_losses_divide_by_num_items_in_batch(tmp_path, loss_type):
    trainer = build_trainer(tmp_path, **TRL, **ONE_BATCH, loss_type=loss_type)
    batch = roll_out(trainer)
    halved = loss_of(trainer, batch, num_items_in_batch=2 * batch["num_items_in_batch"])
    assert batch["num_items_in_batch"] == batch["completion_mask"].sum() and torch.allclose(
        2 * halved, loss_of(trainer, batch)
    ), (
        f"TRL's loss_type={loss_type!r} no longer divides by inputs['num_items_in_batch'], the tokens of the rollout batch."
    )


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_normaliser_counts_over_the_extent_we_think(tmp_path, loss_type):
    """Repeating one answer's tokens under the loss mask shows whether an answer, a micro-batch or nothing is counted."""
    trainer = build_trainer(tmp_path, **TRL, **ONE_BATCH, loss_type=loss_type)
    batch = roll_out(trainer)
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
        f"TRL's loss_type={loss_type!r} no longer normalises over {NORMALIZER_EXTENT[loss_type]!r}."
    )


def test_loss_types_are_the_ones_we_know():
    # TRL has no list of them; its help text names each in quotes before its description.
    field = GRPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    named = set(re.findall(r"'(\w+)'(?: \(default\))?:", field))
    assert named == set(NORMALIZER_EXTENT), f"TRL's loss types are {sorted(named)}; NORMALIZER_EXTENT has others."


def test_tool_mask_narrows_the_loss_mask(tmp_path):
    trainer = build_trainer(tmp_path, **TRL, **ONE_BATCH, importance_sampling_level="sequence", loss_type="grpo")
    batch = roll_out(trainer)
    nothing = torch.zeros_like(batch["completion_mask"])
    assert loss_of(trainer, batch, tool_mask=nothing) == 0, (
        "TRL's GRPOTrainer._compute_loss no longer multiplies completion_mask by inputs['tool_mask']."
    )


def test_own_mask_is_switched_by_the_attribute(tmp_path):
    trainer = build_trainer(tmp_path, **TRL, **ONE_BATCH, loss_type="dapo", top_entropy_quantile=0.2)
    batch = roll_out(trainer)
    masked = loss_of(trainer, batch)
    trainer.top_entropy_quantile = 1.0
    assert loss_of(trainer, batch) != masked, (
        "TRL no longer reads the attribute GRPOTrainer.top_entropy_quantile in its loss: its own mask would stay on."
    )


def test_extra_tensors_travel_with_the_rollout():
    batch = {
        "row_ids": torch.arange(8),
        "kept": torch.arange(8).unsqueeze(1) % 2 == 0,
        "batch_weight": torch.tensor(5.0),
    }
    parts = split_tensor_dict(shuffle_sequence_dict(batch), 4)
    assert all(torch.equal(part["kept"].squeeze(1), part["row_ids"] % 2 == 0) for part in parts), (
        "TRL no longer shuffles and splits all tensors of a rollout batch together."
    )
    assert all(part["batch_weight"] == 5.0 for part in parts), (
        "TRL no longer hands scalars of a rollout batch through."
    )


def test_off_policy_rollouts_are_scored_upstream(tmp_path):
    aligned = roll_out(build_trainer(tmp_path, **TRL, **ONE_BATCH))
    reused = roll_out(build_trainer(tmp_path, **TRL, **ONE_BATCH, num_iterations=2))
    assert "old_per_token_logps" not in aligned and "old_per_token_logps" in reused, (
        "TRL changed when it scores a rollout batch itself: the entropies of that pass are taken."
    )


def test_completion_table_takes_extra_columns(tmp_path):
    import pandas

    trainer = build_trainer(tmp_path, **TRL, log_completions=True, num_completions_to_print=0)
    trainer._logs["extra"]["kept"].extend([[True, False]] * 64)
    trainer.train()
    table = pandas.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    assert "kept" in table and list(table["kept"][0]) == [True, False], (
        "TRL no longer writes the columns of GRPOTrainer._logs['extra'] into the completions table."
    )


def test_model_card_has_the_places_we_write_to(tmp_path):
    trainer = build_trainer(tmp_path, **TRL)
    trainer.create_model_card("tiny")
    card = (tmp_path / "README.md").read_text()
    assert "### Framework versions" in card, "TRL's card template lost the heading '### Framework versions'."
    assert GRPOTrainer._paper["title"] in card, "TRL no longer writes GRPOTrainer._paper into the card."


# Dynamic sampling and resuming ----------------------------------------------------------------------------------------


class Listener(GRPOTrainer):
    """Notes what the two methods that make a rollout return, and in which order they and the scoring are called."""

    calls, returned = [], {}

    def _generate(self, prompts):
        self.calls.append("_generate")
        self.returned["_generate"] = super()._generate(prompts)
        return self.returned["_generate"]

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        self.calls.append("score")
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self.calls.append("_calculate_rewards")
        self.returned["_calculate_rewards"] = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        return self.returned["_calculate_rewards"]


def test_a_rollout_is_made_by_two_methods(tmp_path):
    trainer = build_trainer(tmp_path, **TRL | {"trainer_class": Listener}, **ONE_BATCH, num_iterations=2)
    trainer.calls, trainer.returned = [], {}
    roll_out(trainer)
    assert trainer.calls == ["_generate", "score", "_calculate_rewards"], (
        "TRL's GRPOTrainer._generate_and_score_completions no longer calls _generate, the scoring function and then "
        f"_calculate_rewards, each once, but {trainer.calls}."
    )
    generated = trainer.returned["_generate"]
    prompt_ids, completion_ids, tool_mask, completions, logprobs, extra_fields, images, tool_images = generated
    lists = (prompt_ids, completion_ids, completions)
    assert all(isinstance(value, list) and len(value) == 64 for value in lists), (
        "TRL's GRPOTrainer._generate no longer returns lists with an entry per answer."
    )
    assert (tool_mask, logprobs, extra_fields, images, tool_images) == (None, None, {}, None, []), (
        "TRL's GRPOTrainer._generate no longer returns (prompt_ids, completion_ids, tool_mask, completions, logprobs, "
        "extra_fields, images, tool_images)."
    )
    assert trainer.returned["_calculate_rewards"].shape == (64, 1), (
        "TRL's GRPOTrainer._calculate_rewards no longer returns the rewards of all processes, (answers, functions)."
    )


def test_attributes_of_a_rollout_are_there(tmp_path):
    trainer = build_trainer(tmp_path, **TRL, **ONE_BATCH)
    assert trainer.environment_factories is None and dict(trainer._pending_extra_logs) == {}, (
        "TRL's GRPOTrainer no longer keeps environment_factories and _pending_extra_logs."
    )
    assert (trainer._step, trainer._buffered_inputs, trainer.num_generations_eval) == (0, None, NUM_GENERATIONS), (
        "TRL's GRPOTrainer no longer keeps _step, _buffered_inputs and num_generations_eval."
    )
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    for line in ("self._environment_pool[name]", "self.environment_factories[name]()", ".reset(**"):
        assert line in source, f"TRL's GRPOTrainer no longer sets environments up by {line}."


def test_sampler_draws_one_permutation_an_epoch_from_one_generator(tmp_path):
    sampler = build_trainer(tmp_path, **TRL, shuffle_dataset=True)._get_train_sampler()
    assert (sampler.shuffle, sampler.seed, sampler.num_samples) == (True, 42, NUM_PROMPTS)
    generator = torch.Generator().manual_seed(42)
    for _ in range(2):
        order = list(dict.fromkeys(sampler))
        assert order == torch.randperm(NUM_PROMPTS, generator=generator).tolist(), (
            "TRL's RepeatSampler no longer draws the order of every epoch from one generator seeded with args.seed."
        )


def test_state_of_the_trainer_is_written_last(tmp_path):
    """`resolve_checkpoint` takes a checkpoint with a readable trainer state for a complete one."""
    seen = []

    class Saver(GRPOTrainer):
        def _save_rng_state(self, output_dir):
            super()._save_rng_state(output_dir)
            seen.append({path.name for path in Path(output_dir).iterdir()})

    trainer = build_trainer(tmp_path, **TRL | {"trainer_class": Saver}, save_strategy="steps", save_steps=1)
    trainer.train()
    saved = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert saved - seen[0] == {TRAINER_STATE_NAME}, (
        f"Transformers writes {sorted(saved - seen[0])} after _save_rng_state, and no longer {TRAINER_STATE_NAME} alone."
    )
