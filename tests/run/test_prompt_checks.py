"""Half of a character in a prompt is named before anything is generated, and so is an answer without a token."""

import pytest
from datasets import IterableDataset
from trl import GRPOTrainer

from helpers.collections_of_answers import run
from helpers.tiny import EOS, build_trainer, replay_fixed_answers
from trl_forking.decoding.sampling import TransformersSampler
from trl_forking.run.characters import check_characters


HALF = "\ud83d"
MESSAGE = (
    r"half of a character \('\\ud83d'\) at position {}, which no tokenizer can encode: replace it, as text\.encode"
)


@pytest.mark.parametrize(
    ("prompt", "position"),
    [
        (f"w3{HALF}", 2),
        (HALF, 0),
        ([{"role": "user", "content": f"{HALF}w3"}], 0),
        ([{"role": "user", "content": [{"type": "text", "text": f"w{HALF}"}]}], 1),
        ([{"role": "assistant", "tool_calls": [{"function": {"arguments": {"a": HALF}}}]}], 0),
        ([{"role": "user", "content": "é😀"}, {"role": "user", "content": f"é😀{HALF}"}], 2),
    ],
)
def test_half_of_a_character_is_named(prompt, position):
    check_characters(["w3", "é😀 \x00", None, [{"role": "user", "content": "😀"}]])
    with pytest.raises(ValueError, match=f"^Prompt 3 has {MESSAGE.format(position)}"):
        check_characters(["w3", prompt], first=2)


def test_a_collection_refuses_it_before_it_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(TransformersSampler, "sample", None)
    with pytest.raises(ValueError, match=f"^Prompt 5 has {MESSAGE.format(3)}"):
        run(tmp_path / "run", prompts=["w3"] * 5 + [f"w3 {HALF}"], verifier=None)
    assert not (tmp_path / "run").exists()


def test_training_on_a_stream_refuses_it(tmp_path):
    rows = [{"prompt": f"w3 {HALF if number == 3 else ''}"} for number in range(8)]
    trainer = build_trainer(
        tmp_path,
        train_dataset=IterableDataset.from_generator(lambda: iter(rows)),
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        rollout_func=None,
        gradient_accumulation_steps=4,
    )
    with pytest.raises(ValueError, match=f"^Prompt 12 has {MESSAGE.format(3)}"):
        trainer.train()


@pytest.mark.parametrize("empty", [{3}, set(range(64)), {0, 63}])
@pytest.mark.parametrize("settings", [{}, {"dynamic_sampling": True}, {"top_entropy_quantile": 1.0}], ids=str)
def test_an_empty_answer_of_a_rollout_func_is_named(tmp_path, empty, settings):
    def roll_out(prompts, trainer):
        rollout = replay_fixed_answers(prompts, trainer)
        rollout["completion_ids"] = [[] if n in empty else ids for n, ids in enumerate(rollout["completion_ids"])]
        return rollout

    trainer = build_trainer(tmp_path, rollout_func=roll_out, **settings)
    sentence = (
        rf"^rollout_func returned an answer without a token \(answer {min(empty)}, to the prompt 'w3 w3'\): return"
    )
    with pytest.raises(ValueError, match=sentence):
        trainer.train()
    assert trainer.rollout_func is roll_out


def test_an_empty_answer_of_an_engine_is_named(tmp_path, monkeypatch):
    def answer(self, prompt_ids, *args):
        return [[5, 1]] * (len(prompt_ids) - 1) + [[]], None

    trainer = build_trainer(tmp_path, rollout_func=None)
    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", answer)
    with pytest.raises(
        ValueError, match=r"^Generation returned an answer without a token \(answer 63, to the prompt \["
    ):
        trainer.train()


def test_an_answer_of_one_token_is_enough(tmp_path):
    def roll_out(prompts, trainer):
        rollout = replay_fixed_answers(prompts, trainer)
        rollout["completion_ids"] = [[EOS] if n % 3 else ids for n, ids in enumerate(rollout["completion_ids"])]
        return rollout

    build_trainer(tmp_path, rollout_func=roll_out).train()
