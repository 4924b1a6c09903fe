"""The facts of a run: resumed, on two processes, and as TRL provides them."""

import pytest
import torch
from transformers import TrainerCallback
from trl.rewards import get_soft_overlong_punishment

from helpers.cards import SAMPLED, read_text
from helpers.processes import run_forks
from helpers.tiny import build_trainer
from trl_forking.card.model_card import rebuild_card
from trl_forking.card.run_files import read_record
from workers.card_worker import train_and_save


class StopAtThird(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 3


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 4, "steps_per_generation": 8}])
def test_resumed_run_has_the_whole_history_and_all_tokens(tmp_path, settings):
    """Of the two, the second is stopped amid the steps of a rollout."""
    settings = SAMPLED | settings | {"save_steps": 3}
    torch.manual_seed(0)
    whole = build_trainer(str(tmp_path / "whole"), **settings)
    whole.train()
    torch.manual_seed(0)
    stopped = build_trainer(str(tmp_path / "part"), **settings)
    stopped.add_callback(StopAtThird())
    stopped.train()
    assert "3 steps of 4 so far" in read_text(rebuild_card(tmp_path / "part").parent)
    resumed = build_trainer(str(tmp_path / "part"), **settings)
    resumed.train(resume_from_checkpoint=True)
    first, second = read_record(tmp_path / "whole"), read_record(tmp_path / "part")
    assert second["progress"]["resumed_at"] == [3] and first["progress"]["resumed_at"] == []
    assert second["history"]["step"] == [1, 2, 3, 4] and second["history"] == first["history"]
    assert second["kept_tokens"] == first["kept_tokens"] and first["kept_tokens"]["num_kept"] > 20
    text = read_text(rebuild_card(tmp_path / "part").parent)
    assert "The run was resumed at step 3. All figures here are of the whole run." in text


@pytest.mark.slow
def test_two_processes_count_the_same_tokens_as_one(tmp_path):
    train_and_save(str(tmp_path / "one"))
    done = run_forks("card_worker.py", str(tmp_path / "two"), "2", ranks=2)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = read_record(tmp_path / "one"), read_record(tmp_path / "two")
    assert two["kept_tokens"] == one["kept_tokens"] and one["kept_tokens"]["num_kept"] > 40
    assert "on 2 processes (CPU)" in read_text(tmp_path / "two")


def test_upstream_has_what_the_record_reads(tmp_path):
    from trl.trainer import utils

    trainer = build_trainer(str(tmp_path))
    names, weights = getattr(trainer, "reward_func_names", None), getattr(trainer, "reward_weights", torch.zeros(0))
    assert names == ["reward_fixed"], f"TRL's GRPOTrainer.reward_func_names is {names}, and no longer their names."
    assert weights.tolist() == [1.0], f"TRL's GRPOTrainer.reward_weights is {weights}, and no longer one for each."
    cache = getattr(get_soft_overlong_punishment(12, 4), "soft_punish_cache", None)
    assert cache == 4, f"TRL's overlong reward has soft_punish_cache {cache}: the card takes its cache from there."
    for name in ("get_trackio_space_url", "get_comet_experiment_url"):
        url = getattr(utils, name, lambda: "missing")()
        assert url is None, f"TRL's {name} is {url!r} without a run of that tracker, and no longer None."
