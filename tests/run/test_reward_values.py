"""A reward that float32 cannot train with is an error that names function, answer and value; None is no judgment."""

import math

import numpy as np
import pytest
import torch

from helpers.processes import run_forks
from helpers.tiny import build_trainer, reward_fixed
from trl_forking.run.reward_checks import LARGEST_REWARD, read_rewards


UNUSABLE = {
    "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "np.nan": np.float32("nan"), "tensor": torch.tensor(math.inf),
    "beyond float32": 1e39, "a large int": 10**400, "numpy infinity": -np.inf,
}  # fmt: skip


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("settings", [{}, {"dynamic_sampling": True}, {"scale_rewards": "none"}], ids=str)
def test_a_reward_that_is_not_finite_names_function_answer_and_value(tmp_path, kind, settings):
    def judge(completions, **kwargs):
        return [0.0] * 5 + [UNUSABLE[kind]] + [1.0] * (len(completions) - 6)

    trainer = build_trainer(str(tmp_path), reward_funcs=[reward_fixed, judge], **settings)
    with pytest.raises(ValueError) as error:
        trainer.train()
    sentence = str(error.value)
    assert sentence.startswith("Reward function 'judge' returned ") and "\n" not in sentence
    assert "for answer 5, to the prompt 'w4 w5 w4'" in sentence and "None where it cannot judge" in sentence
    assert repr(UNUSABLE[kind])[:100] in sentence
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


@pytest.mark.parametrize(("value", "weight"), [(3e38, 1.0), (-2e15, 1.0), (1.0, 1e16), (1e10, -1e6)])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_reward_that_is_too_large_is_named_too(tmp_path, value, weight, scale):
    def judge(completions, **kwargs):
        return [0.0] * 7 + [value] + [0.5] * (len(completions) - 8)

    weights = {"reward_weights": [1.0, weight], "scale_rewards": scale}
    trainer = build_trainer(str(tmp_path), reward_funcs=[reward_fixed, judge], **weights)
    with pytest.raises(
        ValueError, match="^Reward function 'judge' returned .* for answer .* of the batch, .*too large for f"
    ):
        trainer.train()


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_the_largest_reward_trains(tmp_path, scale):
    def judge(completions, **kwargs):
        return [LARGEST_REWARD * (-1) ** number * 0.99 for number in range(len(completions))]

    trainer = build_trainer(str(tmp_path), reward_funcs=judge, scale_rewards=scale, max_grad_norm=1.0)
    trainer.train()
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


def test_none_is_no_judgment(tmp_path):
    def judge(completions, **kwargs):
        return [None if number % 3 else 1.0 for number in range(len(completions))]

    build_trainer(str(tmp_path), reward_funcs=[reward_fixed, judge]).train()
    assert read_rewards([None, 1], "judge", ["a", "b"]) == [None, 1]


def test_a_model_that_scores_nothing_is_named(tmp_path):
    class Broken(torch.nn.Module):
        config = type("Config", (), {"_name_or_path": "org/broken"})()

        def forward(self, input_ids, **kwargs):
            logits = torch.zeros(len(input_ids), 1)
            logits[2] = math.nan
            return type("Output", (), {"logits": logits})()

    trainer = build_trainer(str(tmp_path))
    trainer.reward_funcs = [Broken()]
    trainer.reward_processing_classes = [trainer.processing_class]
    with pytest.raises(
        ValueError, match="^Reward model .* returned nan for answer 2 of the batch, which is not finite"
    ):
        trainer.train()


@pytest.mark.slow
def test_both_of_two_processes_say_it(tmp_path):
    """The second one finds it, and the first does not wait for ever."""
    result = run_forks("reward_worker.py", str(tmp_path), ranks=2)
    said = [(tmp_path / f"said-{rank}.txt").read_text() for rank in range(2)]
    assert result.returncode == 0, result.stderr[-2000:]
    assert said[0] == said[1] and said[0].startswith(
        "Reward function 'judge' returned inf for answer 3, to the prompt "
    )
