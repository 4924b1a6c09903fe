"""The sparse update changes no gradient, no metric and no log-probability of a kept token."""

import math

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from helpers.architectures import CONFIGS
from helpers.tiny import (
    LOSS_TYPES,
    GradientSpy,
    build_model,
    build_trainer,
    compute_gradients,
    compute_weight_change,
    relative_error,
    replay_fixed_answers,
    reward_fixed,
)
from trl_forking.update.sparse_update import find_obstacle, score_only


ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}


def compare(tmp_path, tolerance: float = 1e-6, **settings):
    """Train with and without, and compare the gradient of the last step and everything that was logged."""
    gradients, logs = {}, {}
    # Weights of 0.5 would double the rounding errors that either way has; these are closer to a real model's.
    model = settings.pop("model", lambda: build_model(scale=0.2))
    for sparse in (False, True):
        trainer = build_trainer(tmp_path, model=model(), sparse_update=sparse, **settings)
        assert trainer._is_sparse == sparse
        gradients[sparse], logs[sparse] = compute_gradients(trainer)[-1], trainer.state.log_history
    assert gradients[False].any() and relative_error(gradients[True], gradients[False]) < tolerance
    for with_all, without in zip(logs[False], logs[True], strict=True):
        for key in set(with_all) - {"step_time", "entropy", "forking/padding_share"}:
            if "runtime" not in key and "per_second" not in key and with_all[key] is not None:
                assert without[key] == pytest.approx(with_all[key], rel=max(1e-4, tolerance), abs=1e-6), key
    return logs


EXACT = [(loss_type, level) for loss_type in LOSS_TYPES if loss_type != "vespo" for level in ("token", "sequence")]


@pytest.mark.parametrize(("loss_type", "level"), EXACT)
def test_every_loss_type(tmp_path, loss_type, level):
    compare(tmp_path, loss_type=loss_type, importance_sampling_level=level)


@pytest.mark.slow
@pytest.mark.parametrize(("loss_type", "level"), EXACT)
def test_every_loss_type_off_policy(tmp_path, loss_type, level):
    """Two iterations on one rollout: old log-probabilities differ from the current ones."""
    compare(tmp_path, 2e-5, loss_type=loss_type, importance_sampling_level=level, num_iterations=2, max_steps=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"selection_scope": "sequence"},
        {"token_selection": "low_entropy"},
        {"token_selection": "random"},
        {"loss_normalizer": "all"},
        {"count_zero_advantage": True},
        {"top_entropy_quantile": 0.001},
        {"gradient_checkpointing": True},
        {"mask_truncated_completions": True},
        {"delta": 1.5},
        {"temperature": 0.6},
        {"off_policy_mask_threshold": 0.1, "importance_sampling_level": "sequence"},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 32},
        {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1},
    ],
    ids=str,
)
def test_every_setting(tmp_path, settings):
    compare(tmp_path, **settings)


def test_tools_and_uneven_lengths(tmp_path):
    def with_tool_output(prompts, trainer):
        rollout = replay_fixed_answers(prompts, trainer)
        rollout["env_mask"] = [[int(i % 3 != 1) for i in range(len(ids))] for ids in rollout["completion_ids"]]
        return rollout

    compare(tmp_path, rollout_func=with_tool_output)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "mixture_of_experts"])
def test_architectures(tmp_path, name):
    """Soft-capped logits, scaled logits, an output bias."""

    def build():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(CONFIGS[name])

    compare(tmp_path, model=build)


@pytest.mark.parametrize("rope_type", ["longrope", "dynamic"])
def test_rotary_embeddings_that_depend_on_the_length(tmp_path, rope_type):
    """Cutting columns would move the batch to the other side of the original length, with other embeddings."""
    rope = {"rope_type": rope_type, "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 14}
    rope |= {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4} if rope_type == "longrope" else {}

    def build():
        torch.manual_seed(0)
        sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0, "eos_token_id": 1}
        return LlamaForCausalLM(LlamaConfig(**sizes, **heads, max_position_embeddings=32, rope_parameters=rope))

    compare(tmp_path, model=build)


def test_tied_embeddings(tmp_path):
    compare(tmp_path, model=lambda: build_model(scale=0.2, tie_word_embeddings=True))


def test_lora(tmp_path):
    peft_config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    compare(tmp_path, trainer_kwargs={"peft_config": peft_config})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16(tmp_path, dtype):
    """In mixed precision and with the weights in bfloat16 as well.

    With eager attention, because PyTorch takes another attention kernel where no padding is left, which moves a
    gradient in bfloat16 by 0.7 % whichever way the loss is computed (both are 2 % from float32). In TRL's micro-batches,
    because the order in which their gradients are summed moves the sum as much.
    """
    settings = {"bf16": True, "balance_micro_batches": False}
    compare(tmp_path, 5e-3, model=lambda: build_model(scale=0.2, attn_implementation="eager").to(dtype), **settings)


def test_entropy_is_over_the_tokens_that_were_scored(tmp_path):
    """Never over zeros: without zero-variance groups in the pass, the mean is over what competes for the budget."""
    logs = compare(tmp_path)
    masked = logs[True][0]
    expected = masked["forking/selected_entropy_mean"] * masked["forking/kept_fraction"]
    expected += masked["forking/dropped_entropy_mean"] * (1 - masked["forking/kept_fraction"])
    # What is logged is a mean of micro-batch means, `expected` the mean over the rollout.
    assert masked["entropy"] == pytest.approx(expected, rel=0.02)
    assert masked["entropy"] == pytest.approx(logs[False][0]["entropy"], rel=1e-5)


class Counter(GradientSpy):
    """Counts what reaches the backbone and the head."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []
        self.model.base_model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module, args, kwargs):
        self.calls.append((torch.is_grad_enabled(), tuple(kwargs["input_ids"].shape)))


def reward_of_prompt_1_only(completion_ids, number, **kwargs):
    return [float(len(ids) % 2) if n == 1 else 1.0 for ids, n in zip(completion_ids, number, strict=True)]


def test_dead_answers_reach_no_layer_and_every_micro_batch_makes_one_call(tmp_path):
    trainer = build_trainer(tmp_path, Counter, reward_funcs=reward_of_prompt_1_only)
    trainer.train()
    scoring = [shape for with_grad, shape in trainer.calls if not with_grad]
    update = [shape for with_grad, shape in trainer.calls if with_grad]
    assert len(scoring) == len(update) == 8
    for calls in (scoring, update):  # the four answers to prompt 1 are all that there is to compute
        assert calls.count((1, 1)) >= 4 and sum(rows for rows, columns in calls if columns > 1) <= 4
    logs = trainer.state.log_history[0]
    assert logs["grad_norm"] > 0
    # The micro-batches without a scored token have no mean entropy, not one of 0.
    share = logs["forking/kept_fraction"]
    mean = share * logs["forking/selected_entropy_mean"] + (1 - share) * logs["forking/dropped_entropy_mean"]
    assert logs["entropy"] == pytest.approx(mean, rel=0.2)


def test_a_batch_without_kept_tokens_has_a_zero_gradient(tmp_path):
    trainer = build_trainer(tmp_path, Counter, reward_funcs=lambda completions, **kwargs: [1.0] * len(completions))
    assert not compute_weight_change(trainer).any()
    assert {shape for _, shape in trainer.calls} == {(1, 1)}
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_old_log_probabilities_of_dropped_tokens_cannot_overflow(tmp_path):
    from helpers.tiny import roll_out

    trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH)
    batch = roll_out(trainer)
    batch["old_per_token_logps"] = torch.where(batch["kept"], trainer.seen_logps.detach(), -1000.0)
    loss = trainer._compute_loss(trainer.model, batch)
    assert math.isfinite(loss.item())
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in trainer.model.parameters())


OBSTACLES = [
    ({"selection_scope": "micro_batch"}, "selects the tokens after the forward pass"),
    ({"loss_type": "vespo"}, "ratios of all its tokens"),
    ({"off_policy_mask_threshold": 0.1}, "compares the log-probabilities of all tokens"),
]


@pytest.mark.parametrize(("settings", "reason"), OBSTACLES)
def test_steps_aside_and_says_why_once(tmp_path, caplog, settings, reason):
    trainer = build_trainer(tmp_path, max_steps=2, **settings)
    assert not trainer._is_sparse
    trainer.train()
    messages = [record.message for record in caplog.records if "All tokens are computed, because" in record.message]
    assert len(messages) == 1 and reason in messages[0]


def test_steps_aside_for_experts_and_prompt_tuning(tmp_path):
    torch.manual_seed(0)
    experts = AutoModelForCausalLM.from_config(CONFIGS["mixture_of_experts"])
    assert not build_trainer(tmp_path, model=experts)._is_sparse
    peft_config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    trainer = build_trainer(tmp_path, trainer_kwargs={"peft_config": peft_config})
    reason = find_obstacle(trainer.args, trainer.model, False)
    assert not trainer._is_sparse and "puts tokens of its own before the prompt" in reason
    trainer.train()


def test_hooks_are_gone_after_the_call():
    model = build_model()
    with pytest.raises(RuntimeError), score_only(model, torch.ones(1, 1)):
        raise RuntimeError
    for module in (model, model.base_model):
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_reward_used_here_has_zero_variance_groups():
    assert reward_fixed([[1], [1]], [0, 0]) == [1.0, 1.0]
