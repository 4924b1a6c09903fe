"""The fork path against full passes that detach keys and values of all other positions, in float64."""

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    Qwen3Config,
)
from trl.trainer.utils import add_fused_lm_head

from helpers.architectures import SIZES
from helpers.constant_states import DetachingCache, detaching_projections, find_constant
from helpers.tiny import relative_error
from trl_forking.update.fork_path import record_states, score_forks
from trl_forking.update.fork_states import ForkStates, Recording, StatesStore


NUM_PROMPT, NUM_TOKENS = 4, 9
DEEP = SIZES | {"num_hidden_layers": 3}
HYBRID = {"sliding_window": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
NO_DROPOUT = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
CONFIGS = {
    "llama": LlamaConfig(**DEEP),
    "qwen3": Qwen3Config(**DEEP, head_dim=8),
    "mistral_sliding": MistralConfig(**DEEP, sliding_window=3),
    "gemma3_hybrid": Gemma3TextConfig(**DEEP, head_dim=8, **HYBRID),
    "cohere": CohereConfig(**DEEP, logit_scale=0.5),
    "phi": PhiConfig(**DEEP),
    "gpt2": GPT2Config(vocab_size=32, n_embd=16, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=1, **NO_DROPOUT),
}


def build(name, attention="sdpa", dtype=torch.float64):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation=attention).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.4)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def make_inputs():
    """Four rows with padding on the left, on the right and on both sides; the last has no kept token."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 32, (4, NUM_PROMPT + NUM_TOKENS), generator=generator)
    mask = torch.ones_like(ids)
    for row, (left, right) in enumerate([(0, 0), (2, 3), (3, 1), (1, 5)]):
        mask[row, :left] = 0
        mask[row, NUM_PROMPT + NUM_TOKENS - right :] = 0
    scored = (torch.rand(4, NUM_TOKENS, generator=generator) < 0.35) & mask[:, NUM_PROMPT:].bool()
    scored[3] = False
    scored[1, 0] = True  # predicted from the prompt
    weights = torch.randn(4, NUM_TOKENS, generator=generator) * scored
    return {"input_ids": ids, "attention_mask": mask, "labels": ids, "fused_lm_head": True}, scored, weights


def compute(model, inputs, weights):
    """Scores of the kept tokens, and the gradient of their weighted sum."""
    model.zero_grad()
    logps = model(**inputs).log_probs[:, -NUM_TOKENS:]
    (logps * weights).sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return logps[weights != 0].detach(), gradient


def compute_through_forks(model, inputs, scored, weights, window=0):
    recordings: list[Recording] = []
    with torch.no_grad(), record_states(model, scored, recordings.append, has_scores=False):
        model(**inputs)
    with score_forks(model, scored, window, lambda rows, num_columns: (recordings[0].states, None)):
        return compute(model, inputs, weights)


@pytest.mark.parametrize("name", CONFIGS)
def test_scores_are_those_of_the_full_pass_and_the_gradient_that_of_constant_keys_and_values(name):
    model, (inputs, scored, weights) = build(name), make_inputs()
    rounding = 1e-6 if name in ("gemma3_hybrid", "cohere") else 1e-8  # their norms compute in float32
    full, exact = compute(model, inputs, weights)
    assert full.std() > 0.5  # the comparison can fail
    for window in (0, 1, 3):
        is_constant = find_constant(scored, inputs["attention_mask"], window)
        _, expected = compute(model, inputs | {"past_key_values": DetachingCache(is_constant)}, weights)
        scores, gradient = compute_through_forks(model, inputs, scored, weights, window)
        assert torch.allclose(scores, full, atol=1e-6)
        assert relative_error(gradient, expected) < rounding
        assert relative_error(gradient, exact) > 1e-3
    # With every position chosen, the gradient is exact.
    _, gradient = compute_through_forks(model, inputs, scored, weights, window=NUM_PROMPT + NUM_TOKENS)
    assert relative_error(gradient, exact) < rounding


@pytest.mark.parametrize("name", ["llama", "mistral_sliding"])
def test_gradient_is_that_of_detached_projections(name):
    """The same by hooks on the projections, without a cache."""
    model, (inputs, scored, weights) = build(name), make_inputs()
    for window in (0, 2):
        with detaching_projections(model, find_constant(scored, inputs["attention_mask"], window)):
            _, expected = compute(model, inputs, weights)
        _, gradient = compute_through_forks(model, inputs, scored, weights, window)
        assert relative_error(gradient, expected) < 1e-10


@pytest.mark.parametrize("name", ["llama", "gemma3_hybrid", "gpt2"])
def test_eager_attention(name):
    model, (inputs, scored, weights) = build(name, "eager", torch.float32), make_inputs()
    is_constant = find_constant(scored, inputs["attention_mask"], 1)
    _, expected = compute(model, inputs | {"past_key_values": DetachingCache(is_constant)}, weights)
    full, _ = compute(model, inputs, weights)
    scores, gradient = compute_through_forks(model, inputs, scored, weights, window=1)
    assert torch.allclose(scores, full, atol=1e-4) and relative_error(gradient, expected) < 1e-5


def test_a_batch_without_kept_tokens_calls_every_layer_and_has_a_zero_gradient():
    model, (inputs, scored, weights) = build("llama"), make_inputs()
    scored, weights = torch.zeros_like(scored), torch.zeros_like(weights)
    called = [layer.register_forward_hook(lambda *args: calls.append(args[2].shape)) for layer in model.model.layers]
    calls: list[torch.Size] = []
    _, gradient = compute_through_forks(model, inputs, scored, weights)
    assert len(called) == 3 and calls == [(1, 1, 16)] * 6 and not gradient.any() and gradient.isfinite().all()


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant, monkeypatch):
    model, (inputs, scored, weights) = build("llama").train(), make_inputs()
    _, expected = compute_through_forks(model, inputs, scored, weights, window=1)
    recordings: list[Recording] = []
    with torch.no_grad(), record_states(model, scored, recordings.append, has_scores=False):
        model(**inputs)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    calls: list[bool] = []
    hook = model.model.layers[1].mlp.register_forward_pre_hook(lambda *args: calls.append(torch.is_grad_enabled()))
    with score_forks(model, scored, 1, lambda rows, num_columns: (recordings[0].states, None)):
        _, gradient = compute(model, inputs, weights)
    hook.remove()
    assert relative_error(gradient, expected) < 1e-10
    assert len(calls) == 2  # it was computed again
    assert all("_can_checkpoint_with_cache" not in vars(layer) for layer in model.model.layers)
    # Where Transformers does not know of layers that keep their cache, nothing is computed again.
    with torch.no_grad(), record_states(model.eval(), scored, recordings.append, has_scores=False):
        model(**inputs)
    model.train()
    monkeypatch.setattr("trl_forking.update.fork_path.CAN_KEEP_CACHE", False)
    with score_forks(model, scored, 1, lambda rows, num_columns: (recordings[-1].states, None)):
        _, gradient = compute(model, inputs, weights)
    assert relative_error(gradient, expected) < 1e-10
    assert all(layer.gradient_checkpointing for layer in model.model.layers)


def test_layers_that_fsdp_wraps_to_checkpoint_their_activations():
    model, (inputs, scored, weights) = build("llama").train(), make_inputs()
    _, expected = compute_through_forks(model, inputs, scored, weights)
    for number, layer in enumerate(model.model.layers):
        model.model.layers[number] = checkpoint_wrapper(layer, checkpoint_impl=CheckpointImpl.NO_REENTRANT)
    _, gradient = compute_through_forks(model, inputs, scored, weights)
    assert relative_error(gradient, expected) < 1e-10


def test_masks_and_hooks_are_as_before_after_an_error():
    from transformers import masking_utils

    model = build("llama")
    before = dict(masking_utils.ALL_MASK_ATTENTION_FUNCTIONS)
    with pytest.raises(RuntimeError), score_forks(model, torch.ones(1, 1), 0, lambda *args: (ForkStates(), None)):
        assert dict(masking_utils.ALL_MASK_ATTENTION_FUNCTIONS) != before
        raise RuntimeError
    assert dict(masking_utils.ALL_MASK_ATTENTION_FUNCTIONS) == before
    for module in (model, model.base_model):
        assert not module._forward_hooks and not module._forward_pre_hooks


# Keys and values that are kept until they are trained


def test_stored_rows_serve_in_other_batches():
    """Recorded in one batch, used in others with other padding: keys were turned by the positions of the first."""
    model, (inputs, scored, weights) = build("qwen3"), make_inputs()
    _, expected = compute_through_forks(model, inputs, scored, weights)
    store, row_ids = StatesStore(), torch.tensor([10, 11, 12, 13])

    def add(recording):
        store.add(Recording(recording.states, row_ids[recording.rows], recording.first, recording.lengths))

    counted = inputs["attention_mask"][:, NUM_PROMPT:].bool()
    store.begin(step=0, num_columns=40)
    with torch.no_grad(), record_states(model, counted, add):
        model(**inputs)
    assert len(store) == 4
    total = 0
    for rows in ([2, 1], [3, 0]):
        # Two more columns of padding in front of each row.
        padded = {
            name: torch.nn.functional.pad(inputs[name][rows], (2, 0)) for name in ("input_ids", "attention_mask")
        }
        padded |= {"labels": padded["input_ids"], "fused_lm_head": True}
        ids = row_ids[torch.tensor(rows)]

        def take(live, num_columns, ids=ids):
            return store.take(ids[live].tolist(), num_columns)

        with score_forks(model, scored[rows], 0, take):
            total = total + compute(model, padded, weights[rows])[1]
    assert relative_error(total, expected) < 1e-6
    assert len(store) == 1  # the row without a kept token


def test_a_store_takes_no_more_than_its_share_of_the_memory(monkeypatch):
    states = ForkStates()
    states.update(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4), layer_idx=0)  # 64 bytes a column
    one = torch.tensor([1])
    for free, has_row in ((4 * 64 * 5, True), (4 * 64 * 5 - 1, False)):
        monkeypatch.setattr("trl_forking.update.fork_states.measure_free_memory", lambda device, free=free: free)
        store = StatesStore()
        store.begin(step=0, num_columns=5)
        store.add(Recording(states, one, one, torch.tensor([3])))
        assert store.has([1], step=0) == has_row
        store.add(Recording(states, one + 1, one, torch.tensor([2])))
        assert store.has([1, 2], step=0) == has_row
        assert not store.has([1], step=1) and len(store) == 0
