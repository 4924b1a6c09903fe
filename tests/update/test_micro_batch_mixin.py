"""Dealing answers to micro-batches changes no gradient, no metric and nothing that is shown of a rollout."""

import itertools

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from helpers.architectures import CONFIGS
from helpers.arrangements import (
    InputRecorder,
    compare_with_plain,
    count_costly_rows,
    count_rows,
    replay_long_tailed,
    reward_all_informative,
    train,
)
from helpers.scripted import build_seeing
from helpers.tiny import GradientSpy, build_model, build_trainer, replay_fixed_answers
from trl_forking.rollout.callback import RolloutCallback
from trl_forking.selection import LOSS_NORMALIZERS, TOKEN_SELECTIONS


INFORMATIVE = {
    "reward_funcs": reward_all_informative
}  # every answer costs something, so that rows are dealt unequally


def assert_dealt(trainer) -> None:
    rows = count_costly_rows(trainer)
    assert len(set(rows)) > 1 and min(rows), f"these micro-batches have hardly been dealt: {rows}"


# The gradient --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("selection", "normalizer"), [*itertools.product(TOKEN_SELECTIONS, LOSS_NORMALIZERS)])
def test_every_selection_and_normalizer(tmp_path, selection, normalizer):
    settings = {"token_selection": selection, "loss_normalizer": normalizer, **INFORMATIVE}
    assert_dealt(compare_with_plain(tmp_path, **settings))


SEVERAL_STEPS = {"gradient_accumulation_steps": 4, "steps_per_generation": 8, "max_steps": 4, "learning_rate": 0.1}


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "grpo"},
        {"loss_type": "dr_grpo", "importance_sampling_level": "sequence"},
        {"loss_type": "vespo"},
        {"selection_scope": "sequence", "loss_type": "sapo"},
        {"dynamic_sampling": True, "dynamic_sampling_max_rounds": 2},
        {"mask_truncated_completions": True, "max_completion_length": 6},
        {**SEVERAL_STEPS, "num_iterations": 2},
        {"gradient_accumulation_steps": 4, "steps_per_generation": 6, "max_steps": 3, "learning_rate": 0.1},
        {"gradient_accumulation_steps": 8, "steps_per_generation": 4, "max_steps": 2, "learning_rate": 0.1},
    ],
    ids=str,
)
def test_every_setting(tmp_path, settings):
    trainer = compare_with_plain(tmp_path, **(INFORMATIVE | settings))
    if "max_completion_length" not in settings:  # few answers end within it, and all of them are long
        assert_dealt(trainer)


def test_tool_output(tmp_path):
    def with_tool_output(prompts, trainer):
        rollout = replay_long_tailed(prompts, trainer)
        rollout["env_mask"] = [[int(i % 3 != 1) for i in range(len(ids))] for ids in rollout["completion_ids"]]
        return rollout

    assert_dealt(compare_with_plain(tmp_path, rollout_func=with_tool_output, **INFORMATIVE))


def test_lora(tmp_path):
    peft_config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    assert_dealt(compare_with_plain(tmp_path, trainer_kwargs={"peft_config": peft_config}, **INFORMATIVE))


def test_a_model_in_training_never_mixes_optimizer_steps(tmp_path):
    """Six micro-batches a rollout, four a step: what is trained between two updates stays what it was.

    The two rollouts of an epoch make three steps.
    """

    class Recorder(GradientSpy):
        def _compute_loss(self, model, inputs):
            self.__dict__.setdefault("trained", []).append([row for row in inputs["row_ids"].tolist() if row >= 0])
            return super()._compute_loss(model, inputs)

    settings = {"trainer_class": Recorder, "per_device_train_batch_size": 4, "max_steps": 3}
    settings |= {"steps_per_generation": 6, "gradient_accumulation_steps": 4}
    trained = [
        train(tmp_path, **INFORMATIVE, **settings, **more)[1].trained for more in ({}, {"sparse_update": False})
    ]
    assert len(trained[0]) == len(trained[1]) == 12 and trained[0] != trained[1]
    for start in range(0, 12, 4):
        ours, theirs = (sorted(row for part in rows[start : start + 4] for row in part) for rows in trained)
        assert ours == theirs


def test_answers_that_cost_nothing_are_spread(tmp_path):
    def reward_of_prompt_1_only(completion_ids, number, **kwargs):
        return [float(index % 4) if n == 1 else 1.0 for index, n in enumerate(number)]

    trainer = compare_with_plain(tmp_path, reward_funcs=reward_of_prompt_1_only)
    assert count_rows(trainer) == [8] * 8 and max(count_costly_rows(trainer)) == 1


# What is shown -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_metrics_are_those_of_trls_micro_batches(tmp_path):
    """Off-policy, so that tokens are clipped: means over micro-batches are means over the tokens of a step."""
    settings = {**INFORMATIVE, "num_iterations": 2, "max_steps": 2, "learning_rate": 1.0}
    for more in ({}, {"top_entropy_quantile": 1.0}, {"importance_sampling_level": "sequence", "loss_type": "grpo"}):
        dealt, plain = (
            train(tmp_path, **settings, **more, balance_micro_batches=balances)[1] for balances in (True, False)
        )
        assert_dealt(dealt)
        assert dealt.state.log_history[1]["forking/clip_fraction"] > 0
        for ours, theirs in zip(dealt.state.log_history[:2], plain.state.log_history[:2], strict=True):
            assert ours.keys() == theirs.keys()
            # The two extremes are those of micro-batches, whichever they are. So is all that is said of entropies where
            # they are known in the loss pass only.
            changed = {"step_time", "forking/padding_share", "clip_ratio/low_min", "clip_ratio/high_max"}
            if more.get("top_entropy_quantile") == 1.0:
                changed |= {name for name in theirs if name.startswith(("forking/entropy_p", "forking/threshold"))}
                changed |= {"forking/selected_entropy_mean"}
            for name in [name for name in theirs if name not in changed and theirs[name] is not None]:
                assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-6), (more, name)
            assert ours["forking/padding_share"] < 0.5 * theirs["forking/padding_share"]


def test_entropy_is_the_mean_over_the_step(tmp_path):
    trainer = train(tmp_path, **INFORMATIVE)[1]
    logs, share = trainer.state.log_history[0], trainer.state.log_history[0]["forking/kept_fraction"]
    expected = share * logs["forking/selected_entropy_mean"] + (1 - share) * logs["forking/dropped_entropy_mean"]
    assert logs["entropy"] == pytest.approx(expected, rel=1e-5)


def test_listeners_and_tables_see_the_rollout_as_it_was_made(tmp_path):
    seen = []

    class Listener(RolloutCallback):
        def on_rollout(self, args, state, control, rollout, **kwargs):
            seen.append({name: value.clone() for name, value in rollout.batch.items()})

    logged = []
    for balances in (True, False):
        settings = {"log_completions": True, "log_entropy": True, "num_completions_to_print": 0}
        settings |= {"trainer_kwargs": {"callbacks": [Listener()]}, "balance_micro_batches": balances}
        logged.append(train(tmp_path, **INFORMATIVE, **settings)[1]._logs)
    assert seen[0].keys() == seen[1].keys() and all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])
    assert logged[0]["extra"]["kept"] == logged[1]["extra"]["kept"] and logged[0]["prompt"] == logged[1]["prompt"]


@pytest.mark.slow
def test_padding_share_is_what_the_model_got(tmp_path):
    """The columns are counted at the backbone, and the needed tokens in the buffer, row by row."""
    plain = {"balance_micro_batches": False}
    for settings in ({}, plain, {"sparse_update": False}, {"top_entropy_quantile": 1.0}):
        trainer = build_trainer(tmp_path, rollout_func=replay_long_tailed, max_completion_length=24, **settings)
        recorder = InputRecorder(trainer)
        trainer.train()
        num_computed = sum(inputs["input_ids"].numel() for inputs in recorder.of_update)
        num_needed = 0
        for part in trainer._buffered_inputs:
            for row, mask in enumerate(part["completion_mask"]):
                scored = part["kept"][row] if "kept" in part and settings.get("sparse_update", True) else mask
                positions = scored.nonzero().flatten().tolist()
                num_needed += int(part["prompt_mask"][row].sum()) + positions[-1] if positions else 0
        logs = trainer.state.log_history[0]
        if settings.get("sparse_update", True):
            assert logs["forking/padding_share"] == pytest.approx(1 - num_needed / num_computed, abs=1e-6)
        else:  # TRL computes every token, the last one of an answer too
            assert logs["forking/padding_share"] == pytest.approx(1 - (num_needed + 64) / num_computed, abs=1e-6)
        assert logs["forking/rank_imbalance"] == 0.0


# Where it steps aside ------------------------------------------------------------------------------------------------


OBSTACLES = [
    ({"loss_type": "bnpo"}, "loss_type='bnpo' divides by the tokens of a micro-batch"),
    ({"selection_scope": "micro_batch"}, "selection_scope='micro_batch' selects within a micro-batch"),
    ({"entropy_coef": 0.1, "top_entropy_quantile": 1.0}, "the entropy bonus is a mean over a micro-batch"),
    ({"model": "experts"}, "the router loss of a mixture of experts is a mean over a micro-batch"),
]


@pytest.mark.parametrize(("settings", "reason"), OBSTACLES)
def test_steps_aside_and_says_why_once(tmp_path, caplog, settings, reason):
    if settings.get("model"):
        torch.manual_seed(0)
        settings = {"model": AutoModelForCausalLM.from_config(CONFIGS["mixture_of_experts"])}
    trainer = build_trainer(tmp_path, max_steps=2, **settings)
    trainer.train()
    assert count_rows(trainer) == [8] * 8
    messages = [record.message for record in caplog.records if "Answers stay in" in record.message]
    assert len(messages) == 1 and messages[0].endswith(f"because {reason}.")


def test_steps_aside_for_images(tmp_path, caplog):
    trainer = build_seeing(tmp_path, "qwen2_5_vl", GradientSpy, max_steps=2)
    trainer.train()
    assert count_rows(trainer) == [4] * 4
    messages = [record.message for record in caplog.records if "Answers stay in" in record.message]
    assert len(messages) == 1 and messages[0].endswith("because images belong to their rows.")


@pytest.mark.parametrize("settings", [{"balance_micro_batches": False}, {"sparse_update": False}], ids=str)
def test_says_nothing_where_it_is_turned_off(tmp_path, caplog, settings):
    trainer = build_trainer(tmp_path, **INFORMATIVE, **settings)
    trainer.train()
    assert count_rows(trainer) == [8] * 8 and "Answers stay in" not in caplog.text


# The limit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"loss_type": "bnpo"}], ids=str)
def test_answers_that_do_not_fit_name_the_number_that_would_do(tmp_path, settings):
    settings = {**INFORMATIVE, **settings, "per_device_train_batch_size": 16, "top_entropy_quantile": 1.0}
    wide = {"gradient_accumulation_steps": 4, "max_tokens_per_micro_batch": 100}
    with pytest.raises(
        ValueError, match="the largest micro-batch has .* micro-batches would do in place of 4"
    ) as error:
        train(tmp_path, **settings, **wide)
    needed = int(str(error.value).split(" micro-batches would do")[0].split()[-1])
    assert f"set per_device_train_batch_size to {64 // needed}, gradient_accumulation_steps to {needed}" in str(
        error.value
    )
    settings |= {"per_device_train_batch_size": 64 // needed, "gradient_accumulation_steps": needed}
    trainer = train(tmp_path, **settings, max_tokens_per_micro_batch=100)[1]
    assert trainer.state.global_step == 1


def test_an_answer_that_is_too_long_alone_is_named(tmp_path):
    settings = {"top_entropy_quantile": 1.0, "rollout_func": replay_fixed_answers, "max_completion_length": 12}
    message = r"one prompt with its answer has 1[4-9] tokens: set max_tokens_per_micro_batch"
    with pytest.raises(ValueError, match=message):
        train(tmp_path, **INFORMATIVE, **settings, max_tokens_per_micro_batch=13)


# Resuming ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_resumed_within_a_rollout_goes_on_with_its_micro_batches(tmp_path):
    settings = {**INFORMATIVE, **SEVERAL_STEPS, "max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    whole, trainer = train(tmp_path / "whole", **settings)
    assert_dealt(trainer)
    settings |= {"rollout_func": None}  # nothing is generated: the rollout is in the checkpoint
    resumed = build_trainer(tmp_path / "resumed", model=build_model(scale=0.2), max_completion_length=24, **settings)
    recorded = []
    compute_loss = resumed._compute_loss
    resumed._compute_loss = lambda model, inputs: (
        recorded.append(len(inputs["row_ids"])) or compute_loss(model, inputs)
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    assert recorded == count_rows(trainer)[4:]
    losses = [[entry["loss"] for entry in one.state.log_history if "loss" in entry] for one in (trainer, resumed)]
    assert losses[0] == losses[1]
    assert all(map(torch.equal, trainer.model.parameters(), resumed.model.parameters()))
