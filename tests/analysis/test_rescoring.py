"""Answers of one model, scored by another one."""

import numpy as np
import pytest

from helpers.tiny import build_model
from trl_forking.analysis import ScoredAnswer, compute_token_scores
from trl_forking.analysis.rescoring import score_answers


def build_answer(token_ids, prompt_ids):
    size = len(token_ids)
    return ScoredAnswer(
        prompt_index=0,
        answer_index=0,
        prompt="prompt",
        token_ids=np.array(token_ids, np.int32),
        tokens=["w"] * size,
        entropies=np.zeros(size, np.float32),
        logprobs=np.zeros(size, np.float32),
        top_tokens=[[]] * size,
        top_logprobs=np.zeros((size, 0), np.float32),
        prompt_ids=None if prompt_ids is None else np.array(prompt_ids, np.int32),
    )


def test_scores_are_those_of_the_model_and_the_temperature():
    model, prompts, answers = build_model(seed=1), [[3, 4], [5], [3]], [[6, 7, 8], [9], [10, 11]]
    records = [build_answer(answer, prompt) for answer, prompt in zip(answers, prompts, strict=True)]
    for temperature in (0.7, 1.0):
        expected = compute_token_scores(model, prompts, answers, temperature)
        scores = score_answers(model, records, temperature, "tiny")
        assert all(np.allclose(own, other.entropies) for own, other in zip(scores, expected, strict=True))
    assert not np.allclose(scores[0], score_answers(model, records, 0.7, "tiny")[0])


def test_a_model_with_a_smaller_vocabulary_is_refused():
    with pytest.raises(ValueError, match="^tiny has another vocabulary than the last checkpoint: it cannot score"):
        score_answers(build_model(), [build_answer([3, 32], [4])], 1.0, "tiny")
