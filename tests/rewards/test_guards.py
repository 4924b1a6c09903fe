"""TRL's format reward takes every completion that the trainer may hand over."""

import pytest
from trl.rewards import get_soft_overlong_punishment, think_format_reward

from trl_forking.rewards.extract import read_completion
from trl_forking.rewards.guards import accept_any_completion


GOOD = "<think>One and one.</think>Two."
ODD = [None, "", [], {}, 5, [None], ["text"], [{"role": "tool", "content": GOOD}], [{"role": "assistant"}],
       [{"role": "assistant", "content": None}], [{"role": "assistant", "content": [{"type": "image"}, None]}],
       [{"role": "assistant", "content": 5}]]  # fmt: skip


@pytest.mark.parametrize("completion", ODD, ids=repr)
def test_odd_completions_have_no_text(completion):
    assert read_completion(completion) == ""
    assert accept_any_completion(think_format_reward)([completion]) == [0.0]


def test_trl_alone_fails():
    """When TRL takes them too, the guard can go."""
    for completion in ([], GOOD, [{"role": "assistant", "content": None}]):
        with pytest.raises((TypeError, IndexError)):
            think_format_reward([completion])


def test_good_completions_have_the_same_reward():
    reward = accept_any_completion(think_format_reward)
    chats = [[{"role": "assistant", "content": text}] for text in (GOOD, "Two.", "<think>One")]
    assert reward(chats) == think_format_reward(chats) == [1.0, 0.0, 0.0]
    assert reward(completions=[GOOD, {"content": GOOD}], prompts=["a", "b"], trainer_state=None) == [1.0, 1.0]
    assert reward.__name__ == "think_format_reward"


def test_the_length_reward_reads_no_text():
    assert get_soft_overlong_punishment(10, 5)(completions=ODD[:2], completion_ids=[[1], [1] * 11]) == [0.0, -1.0]
