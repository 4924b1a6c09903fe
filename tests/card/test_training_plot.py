"""The plot of a run and the sentences about it, from its history alone."""

import numpy as np
import pytest

from trl_forking.card.run_summary import summarize_run
from trl_forking.card.training_plot import draw_training, smooth_values


@pytest.mark.parametrize("reach", [1, 3, 50])
def test_smoothing_is_a_mean_over_the_neighbors_that_there_are(reach):
    values = np.random.default_rng(0).normal(size=40)
    expected = [values[max(i - reach, 0) : i + reach + 1].mean() for i in range(40)]
    np.testing.assert_allclose(smooth_values(values, reach), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_steps", [2, 19, 5000])
def test_plot_of_short_long_and_patchy_runs_stays_small(num_steps):
    values = np.random.default_rng(0).random(num_steps).tolist()
    patchy = [None if step % 3 else value for step, value in enumerate(values)]
    history = {"step": list(range(1, num_steps + 1)), "reward": values, "entropy": patchy, "forking/threshold": values}
    assert 3_000 < len(draw_training(history, resumed_at=[1])) < 60_000


def test_nothing_to_draw():
    assert draw_training({"step": []}) is None
    assert draw_training({"step": [1, 2], "reward": [None, None]}) is None


def test_summary_with_dynamic_sampling_names_the_cost():
    history = {"step": [1, 2], "forking/sampled_reward": [0.1, 0.3], "reward": [0.5, 0.5]}
    history |= {"forking/zero_variance_groups": [0.5, None], "forking/informative_groups": [0.4, 0.6]}
    run = {"forking": {"dynamic_sampling": True, "top_entropy_quantile": 0.2}, "history": history}
    assert summarize_run(run) == (
        "The mean reward went from 0.10 at the first step to 0.30 at the last: 2 steps are too few to say whether the run "
        "learned. Train at least 12 steps to get a verdict. In the last third of the steps 50 % of the groups of a first round had equal rewards, and dynamic "
        "sampling replaced them. Choose prompts of medium difficulty: each replaced group costs its generation. In the first round of a rollout "
        "50 % of the groups had equal rewards. Dynamic sampling replaced them by answers to new prompts: 50 % of all "
        "generated groups were trained."
    )
