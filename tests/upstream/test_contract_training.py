"""What this library relies on in the training loop, in checkpoints and in the order of prompts, of TRL and Transformers.

Each test fails with a sentence that names what has changed.
"""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import NUM_PROMPTS, build_dataset, build_trainer


CARD_COLUMNS = ["step", "reward", "reward_std", "entropy", "loss", "grad_norm", "frac_reward_zero_std", "num_tokens"]
CARD_COLUMNS += ["completions/mean_length", "completions/clipped_ratio"]


def build(output_dir, trainer_class=GRPOTrainer, **settings):
    """TRL's own trainer: an optimizer step takes two micro-batches of one prompt, with two answers."""
    sizes = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_generations": 2}
    return build_trainer(
        output_dir, trainer_class, GRPOConfig, train_dataset=build_dataset(4), **(sizes | {"max_steps": 1} | settings)
    )


# A run of two epochs ----------------------------------------------------------------------------------------------------


class WatchedSampler(Sampler):
    def __init__(self, sampler, note):
        self.sampler, self.note = sampler, note

    def __iter__(self):
        self.note()
        return iter(self.sampler)

    def __len__(self):
        return len(self.sampler)


class Watched(GRPOTrainer):
    """Notes what is there to be read at the points of the loop where we read it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.epochs, self.counted = [], []

    def _get_train_sampler(self, dataset=None):
        return WatchedSampler(super()._get_train_sampler(dataset), lambda: self.epochs.append(self.state.epoch))

    def training_step(self, model, inputs, num_items_in_batch):
        before = self._step
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.counted.append(self._step - before)
        return loss

    def log(self, logs, start_time=None):
        logs["forking/added"] = self.callback.added
        super().log(logs, start_time)


class AddMetric(TrainerCallback):
    """Adds a number at the end of every step and asks for a row, as `ForkReportCallback` does."""

    def on_step_end(self, args, state, control, **kwargs):
        self.added = state.global_step
        control.should_log = True


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    callback = AddMetric()
    settings = {"max_steps": -1, "num_train_epochs": 2, "logging_steps": 100}
    trainer = build(str(tmp_path_factory.mktemp("run")), Watched, **settings, trainer_kwargs={"callbacks": [callback]})
    trainer.callback = callback
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return SimpleNamespace(trainer=trainer, rows=rows)


def test_step_is_counted_within_training_step(run):
    assert run.trainer.counted == [1] * 8, (
        "TRL no longer counts a micro-batch in GRPOTrainer._step within training_step: after it we ask whether the "
        "rollout is trained."
    )


def test_metrics_of_a_callback_are_logged_with_the_step(run):
    assert [row.get("forking/added") for row in run.rows] == [1, 2, 3, 4], (
        "A callback that sets control.should_log in on_step_end no longer makes the trainer call log() for that step, or "
        "what log() adds to the entry in place is not in state.log_history."
    )


def test_log_has_the_columns_that_the_card_draws(run):
    missing = [name for name in CARD_COLUMNS if name not in run.rows[0]]
    assert not missing, f"TRL no longer logs {missing}: the card of a run plots and sums them up."


def test_epoch_is_known_when_the_prompts_are_drawn(run):
    assert [int(epoch or 0) for epoch in run.trainer.epochs] == [0, 1], (
        f"When the sampler is asked for the order of an epoch, state.epoch is {run.trainer.epochs}, and no longer the "
        "number of passes done: ResumableSampler takes the order from it."
    )


# The end of a run -------------------------------------------------------------------------------------------------------


def test_a_step_can_be_made_the_last(tmp_path):
    """Dynamic sampling ends a run so when the prompts are used up."""

    class Ending(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            state.max_steps = state.global_step

    trainer = build(tmp_path, max_steps=5, save_strategy="steps", save_steps=100, logging_steps=100)
    trainer.callback_handler.callbacks.insert(0, Ending())
    trainer.train()
    assert trainer.state.global_step == 1, (
        "Transformers no longer ends a run when a callback in front of its own sets state.max_steps to the step that is done."
    )
    assert (tmp_path / "checkpoint-1").is_dir(), (
        "Transformers no longer saves the step that state.max_steps makes the last."
    )


def test_an_epoch_can_be_left_out(tmp_path):
    """A run that is resumed at its end does nothing so."""

    class Idle(GRPOTrainer):
        def _run_epoch(self, *args, **kwargs):
            self.calls = getattr(self, "calls", 0) + 1
            self.control.should_training_stop = True

    trainer = build(tmp_path, Idle, max_steps=-1, num_train_epochs=3)
    trainer.train()
    assert (getattr(trainer, "calls", 0), trainer.state.global_step) == (1, 0), (
        "Transformers no longer trains an epoch in Trainer._run_epoch, or no longer ends a run when that sets "
        "control.should_training_stop."
    )


# Checkpoints ------------------------------------------------------------------------------------------------------------


class Saver(GRPOTrainer):
    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        self.seen = {path.name for path in Path(output_dir).iterdir()}
        self.rng_folder = output_dir


@pytest.fixture(scope="module")
def saver(tmp_path_factory):
    trainer = build(str(tmp_path_factory.mktemp("saved")), Saver, max_steps=2, save_strategy="steps", save_steps=1)
    trainer.train()
    return trainer


def test_state_of_the_trainer_is_written_last(saver):
    """`resolve_checkpoint` takes a checkpoint with a readable trainer state for a complete one."""
    folder = Path(saver.args.output_dir) / "checkpoint-2"
    assert folder.is_dir(), "Transformers no longer saves step 2 in checkpoint-2."
    saved = {path.name for path in folder.iterdir()}
    assert saved - saver.seen == {TRAINER_STATE_NAME}, (
        f"Transformers writes {sorted(saved - saver.seen)} after _save_rng_state, and no longer {TRAINER_STATE_NAME} alone."
    )
    assert json.loads((folder / TRAINER_STATE_NAME).read_text())["global_step"] == 2, (
        f"{TRAINER_STATE_NAME} is no longer the JSON of TrainerState."
    )


def test_a_checkpoint_lies_where_we_take_its_mark_away(saver):
    folder = f"{saver._get_output_dir(trial=None)}/checkpoint-{saver.state.global_step}"
    assert Path(folder) == Path(saver.rng_folder) and Path(folder).parent == Path(saver.args.output_dir), (
        "Transformers no longer saves in checkpoint-<step> of Trainer._get_output_dir: a checkpoint that is written over "
        "would count as complete."
    )


class Counting(TrainerCallback, ExportableState):
    def __init__(self):
        self.count, self.found = 0, None

    def state(self):
        return {"args": {}, "attributes": {"count": self.count}}

    def on_train_begin(self, args, state, control, **kwargs):
        self.found = dict(state.stateful_callbacks)
        state.stateful_callbacks["Counting"] = self.state()

    def on_step_end(self, args, state, control, **kwargs):
        self.count += 1


def test_state_of_a_callback_is_saved_and_is_there_when_training_begins(saver, tmp_path):
    """The position in the stream of prompts is saved so."""
    settings = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    first = build(tmp_path / "run", **settings, trainer_kwargs={"callbacks": [Counting()]})
    first.train()
    again = Counting()
    resumed = build(tmp_path / "run", **settings, trainer_kwargs={"callbacks": [again]})
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert again.found.get("Counting") == {"args": {}, "attributes": {"count": 2}}, (
        "Transformers no longer saves the state() of an ExportableState with every checkpoint, or it is not in "
        f"state.stateful_callbacks when training begins: {again.found}."
    )
    from_another = Counting()
    trainer = build(saver.args.output_dir, **settings, trainer_kwargs={"callbacks": [from_another]})
    trainer.train(resume_from_checkpoint=str(Path(saver.args.output_dir) / "checkpoint-1"))
    assert "Counting" not in from_another.found and from_another.count == 2, (
        "Transformers invents a state for a callback that a checkpoint does not know."
    )


class Stopped(Exception):
    pass


def test_what_is_loaded_with_the_optimizer_is_what_training_goes_on_with(saver, tmp_path):
    """`load_progress` sets the place in the rollout there, for the first micro-batch."""

    class Resuming(GRPOTrainer):
        def _load_optimizer_and_scheduler(self, checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            self.loaded = (checkpoint, self.state.global_step)
            self._step, self._buffered_inputs = 3, ["first", "second"]

        def training_step(self, model, inputs, num_items_in_batch):
            raise Stopped(self._step, self._buffered_inputs)

    checkpoint = str(Path(saver.args.output_dir) / "checkpoint-1")
    trainer = build(tmp_path, Resuming, max_steps=2)
    with pytest.raises(Stopped) as stopped:
        trainer.train(resume_from_checkpoint=checkpoint)
    assert getattr(trainer, "loaded", None) == (checkpoint, 1), (
        "Transformers no longer calls _load_optimizer_and_scheduler with the checkpoint when the step is known."
    )
    assert stopped.value.args == (3, ["first", "second"]), (
        "TRL sets _step or _buffered_inputs between loading the optimizer and the first micro-batch: what a checkpoint "
        "has of a rollout would be lost."
    )


def test_signatures_that_we_override_or_call():
    expected = {
        GRPOTrainer.__init__: ["self", "model", "reward_funcs", "args", "train_dataset"],
        GRPOTrainer._generate: ["self", "prompts"],
        GRPOTrainer._generate_and_score_completions: ["self", "inputs"],
        GRPOTrainer._calculate_rewards: ["self", "inputs", "prompts", "completions", "completion_ids_list"],
        GRPOTrainer._compute_loss: ["self", "model", "inputs"],
        GRPOTrainer._get_train_sampler: ["self", "dataset"],
        GRPOTrainer._load_optimizer_and_scheduler: ["self", "checkpoint"],
        GRPOTrainer._save_checkpoint: ["self", "model", "trial"],
        GRPOTrainer.create_model_card: ["self", "model_name", "dataset_name", "tags"],
        GRPOTrainer.log: ["self", "logs", "start_time"],
        Trainer._load_callback_state: ["self"],
        Trainer._push_from_checkpoint: ["self", "checkpoint_folder"],
        Trainer._save: ["self", "output_dir", "state_dict"],
        Trainer._save_rng_state: ["self", "output_dir"],
        Trainer.save_model: ["self", "output_dir", "_internal_call"],
        Trainer.train: ["self", "resume_from_checkpoint"],
    }
    for method, names in expected.items():
        found = list(inspect.signature(method).parameters)
        is_open = method in (GRPOTrainer.__init__, Trainer.train)  # we hand on what comes after
        assert (found[: len(names)] if is_open else found) == names, (
            f"{method.__qualname__} takes {found} upstream, and no longer {names}."
        )
    checked = {"model", "reward_funcs", "args", "train_dataset", "eval_dataset", "rollout_func", "environment_factory"}
    missing = checked - set(inspect.signature(GRPOTrainer.__init__).parameters)
    assert not missing, f"TRL's GRPOTrainer no longer takes {sorted(missing)}: ForkingGRPOTrainer checks them by name."


# The order of prompts -----------------------------------------------------------------------------------------------------


def test_sampler_draws_one_permutation_an_epoch_from_one_generator(tmp_path):
    trainer = build_trainer(tmp_path, GRPOTrainer, GRPOConfig, epsilon_high=0.28, shuffle_dataset=True)
    sampler = trainer._get_train_sampler()
    found = [getattr(sampler, name, None) for name in ("shuffle", "seed", "num_samples")]
    assert found == [True, 42, NUM_PROMPTS], (
        f"TRL's RepeatSampler has (shuffle, seed, num_samples) = {found}, and no longer those of the data set."
    )
    generator = torch.Generator().manual_seed(42)
    orders = [torch.randperm(NUM_PROMPTS, generator=generator).tolist() for _ in range(2)]
    for order in orders:
        assert list(dict.fromkeys(sampler)) == order, (
            "TRL's RepeatSampler no longer draws the order of every epoch from one generator seeded with args.seed."
        )
    sampler.generator.manual_seed(42)
    assert list(dict.fromkeys(sampler)) == orders[0], (
        "TRL's RepeatSampler no longer draws from its attribute generator: ResumableSampler sets that back."
    )
