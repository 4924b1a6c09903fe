"""Measuring the accuracy of a model on the built-in task."""

import pytest
import torch

from trl_forking.countdown import (
    END_TOKEN,
    evaluate_countdown,
    make_countdown_dataset,
    verify_countdown,
)
from trl_forking.evaluation.intervals import compute_share_interval


@pytest.fixture(scope="module")
def problems():
    return make_countdown_dataset("eval", num_problems=512, seed=3)


@pytest.mark.slow
def test_shipped_model_solves_the_expected_share(tokenizer, model, problems):
    evaluation = evaluate_countdown(model, tokenizer, problems, seed=0)
    assert evaluation.num_problems == len(evaluation.completions) == 512
    checked = map(verify_countdown, evaluation.completions, problems["nums"], problems["goal"])
    assert evaluation.num_correct == sum(checked)
    assert evaluation.accuracy == evaluation.num_correct / 512
    assert evaluation.interval == compute_share_interval(evaluation.num_correct, 512)
    # It is 0.30 with a standard error of 0.02; which answers are drawn depends on the processor.
    assert 0.22 < evaluation.accuracy < 0.38


def test_evaluation_is_deterministic_and_leaves_no_trace(tokenizer, model, problems):
    few = problems.select(range(32))
    model.train()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = evaluate_countdown(model, tokenizer, few, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    torch.manual_seed(8)
    assert evaluate_countdown(model, tokenizer, few, seed=1) == first
    assert evaluate_countdown(model, tokenizer, few, seed=2).completions != first.completions
    model.eval()
    evaluate_countdown(model, tokenizer, few.select(range(2)), seed=1, batch_size=1)
    assert not model.training


def test_answers_are_drawn_from_the_whole_distribution_in_one_random_sequence(tokenizer, model, problems):
    """As a plain loop of `generate` draws them, over batches of which the last is smaller."""
    few = problems.select(range(40))
    expected = []
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        for prompts in (few["prompt"][:16], few["prompt"][16:32], few["prompt"][32:]):
            inputs = tokenizer(list(prompts), return_tensors="pt", padding=True)
            outputs = model.generate(**inputs, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=52)
            texts = tokenizer.batch_decode(outputs[:, inputs["input_ids"].size(1) :])
            expected += [text.partition(END_TOKEN)[0].strip() for text in texts]
    assert evaluate_countdown(model, tokenizer, few, seed=5, batch_size=16).completions == expected
