"""The fork path in the trainer: loss and metrics stay, the gradient is the reference's, and what cannot work is refused."""

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig
from transformers import AutoModelForCausalLM, BloomConfig, LlamaConfig, MambaConfig, Qwen3NextConfig
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextForCausalLM

from helpers.architectures import CONFIGS, SIZES
from helpers.constant_states import DetachingCache, find_constant
from helpers.tiny import (
    GradientSpy,
    build_model,
    build_trainer,
    compute_gradients,
    relative_error,
    replay_fixed_answers,
    roll_out,
)
from trl_forking import ForkingGRPOConfig
from trl_forking.update.fork_path_mixin import find_fork_obstacle


pytestmark = pytest.mark.slow  # fifteen seconds in all


ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}
WHOLE = 64  # a window that no row exceeds: every position carries gradient


def train(tmp_path, gradient_path="forks", window=0, **settings):
    """Train, and return the gradient of the last step and the logs; with weights as small as a real model's."""
    model = settings.pop("model", lambda: build_model(scale=0.2))
    if gradient_path == "forks":
        settings |= {"gradient_path": gradient_path, "gradient_path_window": window}
    trainer = build_trainer(tmp_path, model=model(), **settings)
    gradient = compute_gradients(trainer)[-1]
    return gradient, trainer.state.log_history


def without_clocks(log):
    names = set(log) - {"step_time", "grad_norm", "entropy", "forking/padding_share"}
    names = {name for name in names if "runtime" not in name and "per_second" not in name}
    return {name: log[name] for name in names if log[name] is not None}


def with_tool_output(prompts, trainer):
    rollout = replay_fixed_answers(prompts, trainer)
    rollout["env_mask"] = [[int(i % 3 != 1) for i in range(len(ids))] for ids in rollout["completion_ids"]]
    return rollout


SETTINGS = [
    {},
    ONE_BATCH,
    {"selection_scope": "micro_batch"},
    {"selection_scope": "sequence", "loss_type": "grpo"},
    {"token_selection": "random", "loss_type": "bnpo"},
    {"token_selection": "low_entropy", "loss_normalizer": "all"},
    {"top_entropy_quantile": 0.001},
    {"top_entropy_quantile": 1.0, "rollout_func": with_tool_output, "num_iterations": 2, "max_steps": 2} | ONE_BATCH,
    {"gradient_checkpointing": True},
    {"importance_sampling_level": "sequence", "off_policy_mask_threshold": 0.1, "loss_type": "dr_grpo"},
    {"num_iterations": 2, "max_steps": 2, "loss_type": "cispo"},
    {"per_device_train_batch_size": 4, "steps_per_generation": 16, "max_steps": 2, "mask_truncated_completions": True},
    {"trainer_kwargs": {"peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")}},
    {"model": lambda: build_model(scale=0.2, tie_word_embeddings=True, attn_implementation="eager")},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ",".join(settings) or "default")
def test_loss_and_metrics_are_those_of_the_full_path_and_the_gradient_is_exact_with_every_position(tmp_path, settings):
    expected, logs = train(tmp_path, "full", **settings)
    gradient, exact_logs = train(tmp_path, window=WHOLE, **settings)
    assert expected.any() and relative_error(gradient, expected) < 2e-5
    gradient, fork_logs = train(tmp_path, **settings)
    assert gradient.isfinite().all() and relative_error(gradient, expected) > 1e-2
    assert without_clocks(exact_logs[0]) == pytest.approx(without_clocks(logs[0]), rel=1e-4, abs=1e-6, nan_ok=True)
    assert without_clocks(fork_logs[0]) == pytest.approx(without_clocks(logs[0]), rel=1e-4, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("window", [0, 1])
def test_gradient_is_that_of_constant_keys_and_values_on_every_split(tmp_path, window):
    settings = {"gradient_path": "forks", "gradient_path_window": window}
    trainer = build_trainer(tmp_path, GradientSpy, model=build_model(scale=0.2), **settings, **ONE_BATCH)
    batch = roll_out(trainer)
    trainer._compute_loss(trainer.model, batch).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])
    # The reference: one full pass in float64 on TRL's padded tensors, with the gradient of the loss at every token.
    upstream, kept = trainer.seen_logps.grad.double(), batch["kept"]
    assert upstream[kept].all() and not upstream[~kept].any()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    model = build_model(scale=0.2).double()
    cache = DetachingCache(find_constant(kept, mask, window))
    logits = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=False).logits
    logps = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)[:, -kept.size(1) :]
    (logps * upstream).sum().backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert relative_error(gradient.double(), expected) < 1e-5
    for size in (2, 8):
        split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 64 // size}
        assert relative_error(train(tmp_path, window=window, **split)[0].double(), expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16(tmp_path, dtype):
    """In mixed precision and with all weights in bfloat16; with eager attention, which rounds alike on both paths."""

    def build():
        return build_model(scale=0.2, attn_implementation="eager").to(dtype)

    settings = {"model": build, "bf16": True, "balance_micro_batches": False}
    expected, _ = train(tmp_path, "full", **settings)
    assert relative_error(train(tmp_path, window=WHOLE, **settings)[0], expected) < 2e-2
    in_float32, _ = train(tmp_path)
    assert relative_error(train(tmp_path, **settings)[0], in_float32) < 5e-2


class Counter(GradientSpy):
    """Counts the passes through the backbone, and the tokens of those with gradient."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []
        self.model.base_model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module, args, kwargs):
        self.calls.append((torch.is_grad_enabled(), kwargs["input_ids"].numel()))


def test_keys_and_values_of_the_scoring_pass_serve_until_the_weights_change(tmp_path, monkeypatch):
    def count(**settings):
        trainer = build_trainer(tmp_path, Counter, model=build_model(scale=0.2), gradient_path="forks", **settings)
        gradients = compute_gradients(trainer)
        return gradients, [size for has_gradient, size in trainer.calls if not has_gradient], trainer

    gradients, passes, trainer = count()
    assert len(passes) == 8  # of the scoring pass, in as many groups
    with_gradient = [size for has_gradient, size in trainer.calls if has_gradient]
    assert len(with_gradient) == 8 and sum(with_gradient) < 0.5 * sum(passes)
    assert not len(trainer._states_store)
    assert (
        len(count(num_iterations=2, max_steps=2)[1]) == 8 + 8 + 8
    )  # TRL scores once more, for the old log-probabilities
    monkeypatch.setattr("trl_forking.update.fork_states.MEMORY_SHARE", 0.0)
    anew, passes, _ = count()
    assert len(passes) == 8 + 8
    assert relative_error(anew[0], gradients[0]) < 1e-5


def test_dropout_is_drawn_anew_and_an_evaluation_makes_one_pass(tmp_path):
    model = build_model(scale=0.2, attention_dropout=0.1)
    trainer = build_trainer(tmp_path, Counter, model=model, gradient_path="forks", **ONE_BATCH)
    batch = roll_out(trainer)
    assert not len(trainer._states_store)
    trainer.calls.clear()
    trainer._compute_loss(trainer.model, batch).backward()
    assert [has_gradient for has_gradient, _ in trainer.calls] == [False, True]
    trainer.calls.clear()
    trainer.model.eval()
    with torch.no_grad():
        trainer._compute_loss(trainer.model, batch)
    assert len(trainer.calls) == 1


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gradient_path": "fork"}, "gradient_path='fork' is not one of 'full', 'forks': did you mean 'forks'?"),
        ({"gradient_path_window": -1}, "gradient_path_window must be a whole number of at least 0, but it is -1"),
        ({"gradient_path_window": 1.5}, "but it is 1.5"),
        ({"gradient_path_window": 4}, "is about gradient_path='forks', but gradient_path is 'full'"),
        ({"gradient_path": "forks", "sparse_update": False}, "sparse_update=False computes all tokens"),
        ({"gradient_path": "forks", "loss_type": "vespo"}, "loss_type='vespo' weights an answer by the ratios of all"),
        ({"gradient_path": "forks", "off_policy_mask_threshold": 0.1}, "compares the log-probabilities of all tokens"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match="gradient_path") as caught:
        ForkingGRPOConfig(str(tmp_path), use_cpu=True, **settings)
    assert message in str(caught.value)


def build_other(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


LINEAR = {"num_experts": 0, "linear_num_key_heads": 2, "linear_num_value_heads": 2}
LINEAR |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}
ROPE = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: build_other(MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1)), "MambaForCausalLM"),
        (lambda: Qwen3NextForCausalLM(Qwen3NextConfig(**SIZES, head_dim=8, **LINEAR)), "(linear_attention)"),
        (lambda: build_other(LlamaConfig(**SIZES, rope_parameters=ROPE)), "depend on the length of the row"),
        (lambda: build_other(CONFIGS["mixture_of_experts"]), "router loss"),
        (lambda: build_other(BloomConfig(vocab_size=32, hidden_size=16, n_layer=2, n_head=2)), "BloomForCausalLM"),
    ],
    ids=["state_space", "linear_attention", "dynamic_rope", "router_loss", "alibi"],
)
def test_models_that_cannot_work_are_refused_by_name(tmp_path, build, reason):
    model = build()
    with pytest.raises(ValueError, match="gradient_path='forks' cannot train") as caught:
        build_trainer(tmp_path, model=model, gradient_path="forks")
    assert reason in str(caught.value) and "set gradient_path='full'" in str(caught.value)


def test_flash_attention_and_prompt_tuning_are_refused(tmp_path):
    model = build_model()
    model.config._attn_implementation_internal = "flash_attention_2"
    assert "attn_implementation='flash_attention_2' takes no mask" in find_fork_obstacle(model, False)
    peft_config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(ValueError, match="puts tokens of its own before the prompt"):
        build_trainer(tmp_path, gradient_path="forks", trainer_kwargs={"peft_config": peft_config})


def test_a_model_that_gives_other_scores_over_chosen_positions_is_refused(tmp_path):
    model = build_model()
    # A layer that counts its own positions, whatever it is told.
    model.model.layers[0].mlp.register_forward_hook(
        lambda module, args, output: output + 0.1 * torch.arange(output.size(1)).unsqueeze(1)
    )
    with pytest.raises(ValueError, match=r"Qwen3ForCausalLM: over chosen positions .* nats away"):
        build_trainer(tmp_path, model=model, gradient_path="forks")
