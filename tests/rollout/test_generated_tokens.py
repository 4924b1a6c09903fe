"""The count of generated tokens: every round and process, without prompts, in the log, and through a resume."""

import json

import pytest

from helpers.tiny import build_trainer, replay_fixed_answers
from trl_forking.rollout.generated_tokens import GeneratedTokensCallback


def build(folder, **settings):
    """Build a trainer, and a list that gets the lengths of all answers that it generates in training."""
    lengths = []

    def roll_out(prompts, trainer):
        output = replay_fixed_answers(prompts, trainer)
        if trainer.model.training:
            lengths.extend(map(len, output["completion_ids"]))
        return output

    return build_trainer(folder, rollout_func=roll_out, logging_steps=1, **settings), lengths


def read_counts(trainer):
    rows = trainer.state.log_history
    return [row["forking/generated_tokens"] for row in rows if "forking/generated_tokens" in row]


@pytest.mark.parametrize("dynamic_sampling", [False, True])
def test_every_answer_of_every_round_is_counted(tmp_path, dynamic_sampling):
    trainer, lengths = build(tmp_path, dynamic_sampling=dynamic_sampling, max_steps=3)
    trainer.train()
    counts = read_counts(trainer)
    assert counts == sorted(counts) and counts[-1] == sum(lengths) and len(counts) == 3
    assert counts[-1] < trainer.state.log_history[-2]["num_tokens"], "TRL's number has the prompts in it"


def test_an_evaluation_is_not_counted_and_tool_output_neither(tmp_path):
    def roll_out(prompts, trainer):
        output = replay_fixed_answers(prompts, trainer)
        return output | {"env_mask": [[1, *[0] * (len(ids) - 1)] for ids in output["completion_ids"]]}

    from helpers.tiny import build_dataset

    trainer = build_trainer(
        tmp_path,
        rollout_func=roll_out,
        max_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        per_device_eval_batch_size=16,
        trainer_kwargs={"eval_dataset": build_dataset(4)},
    )
    trainer.train()
    (count,) = read_counts(trainer)
    assert count == trainer.args.generation_batch_size, "one token of each answer is the policy's own"


@pytest.mark.parametrize("restores", [False, True])
def test_a_resumed_run_goes_on_counting(tmp_path, restores):
    settings = {"save_strategy": "steps", "save_steps": 1, "restore_callback_states_from_checkpoint": restores}
    first, lengths = build(tmp_path, max_steps=2, **settings)
    first.train()
    resumed, others = build(tmp_path, max_steps=4, **settings)
    resumed.train(resume_from_checkpoint=True)
    assert read_counts(resumed)[-1] == sum(lengths) + sum(others) and len(read_counts(resumed)) == 4
    again, lengths = build(tmp_path, max_steps=1, save_strategy="no")
    again.train()
    assert read_counts(again) == [sum(lengths)], "a new run begins at zero"


def test_a_checkpoint_without_the_number_gives_none(tmp_path):
    first, _ = build(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    first.train()
    path = tmp_path / "checkpoint-1" / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"][GeneratedTokensCallback.__name__]
    path.write_text(json.dumps(state))
    resumed, _ = build(tmp_path, max_steps=2, save_strategy="no")
    resumed.train(resume_from_checkpoint=True)
    assert len(read_counts(resumed)) == 1, "the count of the first step, which the log has; no false sum after it"
