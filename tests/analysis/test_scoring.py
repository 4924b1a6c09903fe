"""Scores of given answers equal a float64 softmax over all logits at once. The tests also measure their memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    MambaConfig,
    Olmo2Config,
    Phi3Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from helpers.tiny import EOS, PAD, VOCABULARY_SIZE, build_model
from trl_forking.analysis import compute_token_scores, scoring


SIZES = {"vocab_size": VOCABULARY_SIZE, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": PAD, "eos_token_id": EOS}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "output_router_logits": True}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0, 3.0, 2.0, 1.0]}
CONFIGS = {
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "llama": LlamaConfig(**SIZES),
    # The window is shorter than the answers, and the capping moves the logits.
    "gemma2": Gemma2Config(**SIZES, head_dim=8, sliding_window=8, final_logit_softcapping=5.0),
    "phi3": Phi3Config(**SIZES),
    "olmo2": Olmo2Config(**SIZES),
    "mixture_of_experts": Qwen3MoeConfig(**SIZES, head_dim=8, **EXPERTS),
    # Scores a sequence of more than 16 tokens, padding included, in another way than a shorter one.
    "phi3_longrope": Phi3Config(
        **SIZES, max_position_embeddings=64, original_max_position_embeddings=16, rope_parameters=LONGROPE
    ),
    "mamba": MambaConfig(vocab_size=VOCABULARY_SIZE, hidden_size=32, num_hidden_layers=2, state_size=4),
}
RANDOM = np.random.default_rng(0)
PROMPTS = [RANDOM.integers(2, VOCABULARY_SIZE, size).tolist() for size in (1, 5, 9, 3)]
ANSWERS = [RANDOM.integers(2, VOCABULARY_SIZE, size).tolist() for size in (40, 1, 0, 11)]


def build(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name], dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.3)
    return model


def compute_reference(model, prompt, answer, temperature):
    """All logits of one answer without padding: (T, V) log-probabilities and (T,) entropies in float64."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
    logprobs = (logits / temperature).log_softmax(-1)
    return logprobs, -(logprobs.exp() * logprobs).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("name", CONFIGS)
def test_scores_equal_float64_over_all_logits(name, temperature, monkeypatch):
    monkeypatch.setattr(scoring, "_LOGITS_PER_CHUNK", 7 * VOCABULARY_SIZE)  # chunks that end in the midst of answers
    model = build(name)
    scores = compute_token_scores(model, PROMPTS, ANSWERS, temperature, top_alternatives=3)
    for prompt, answer, score in zip(PROMPTS, ANSWERS, scores, strict=True):
        assert score.top_ids.shape == score.top_logprobs.shape == (len(answer), 3)
        logprobs, entropies = compute_reference(model, prompt, answer, temperature)
        top = logprobs.topk(3)
        np.testing.assert_allclose(score.entropies, entropies, atol=1e-5, rtol=0)
        np.testing.assert_allclose(score.logprobs, logprobs[range(len(answer)), answer], atol=1e-5, rtol=0)
        np.testing.assert_allclose(score.top_logprobs, top.values, atol=1e-5, rtol=0)
        np.testing.assert_array_equal(score.top_ids, top.indices)
    assert scores[0].entropies.mean() > 1  # of 3.5 nats: there was something to compare


def test_the_batch_changes_nothing(monkeypatch):
    model = build("qwen3")
    together = compute_token_scores(model, PROMPTS, ANSWERS, top_alternatives=2)
    order = [2, 0, 3, 1]
    permuted = compute_token_scores(model, [PROMPTS[i] for i in order], [ANSWERS[i] for i in order])
    monkeypatch.setattr(scoring, "_TOKENS_PER_BATCH", 1)
    alone = compute_token_scores(model, PROMPTS, ANSWERS, top_alternatives=2)
    for i in range(4):
        np.testing.assert_allclose(alone[i].entropies, together[i].entropies, atol=2e-6)
        np.testing.assert_array_equal(alone[i].top_ids, together[i].top_ids)
        np.testing.assert_allclose(permuted[order.index(i)].entropies, together[i].entropies, atol=2e-6)


def test_batches_hold_all_answers_within_the_limit(monkeypatch):
    monkeypatch.setattr(scoring, "_TOKENS_PER_BATCH", 30)
    lengths = RANDOM.integers(0, 40, 50).tolist()
    batches = list(scoring._make_batches(build_model(), [[2]] * 50, [[3] * length for length in lengths]))
    assert sorted(index for batch in batches for index in batch) == list(range(50))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * (1 + max(lengths[index] for index in batch)) <= 30
    assert len(batches) < 45


def test_no_more_logits_than_a_chunk(monkeypatch):
    monkeypatch.setattr(scoring, "_LOGITS_PER_CHUNK", 5 * VOCABULARY_SIZE)
    model, sizes = build_model(), []
    model.lm_head.register_forward_hook(lambda module, args, output: sizes.append(output.numel()))
    compute_token_scores(model, PROMPTS, ANSWERS)
    assert max(sizes) == 5 * VOCABULARY_SIZE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_normalized_in_fp32(dtype):
    torch.manual_seed(0)
    logits = torch.cat([torch.randn(5, 50_000) * scale + shift for scale, shift in ((1, 0), (30, 500), (1e-3, -9))])
    logits = logits.to(dtype)
    logprobs = logits.double().log_softmax(-1)
    drawn = torch.arange(15)
    entropies, drawn_logprobs, *_ = scoring._score_logits(logits.clone(), drawn, 1.0, 0)
    np.testing.assert_allclose(entropies, -(logprobs.exp() * logprobs).sum(-1), atol=1e-5, rtol=1e-6)
    np.testing.assert_allclose(drawn_logprobs, logprobs[range(15), drawn], atol=1e-5, rtol=1e-6)


def test_impossible_and_certain_tokens():
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [1e4, 0.0, -1e4]])
    entropies, logprobs, ids, top, _ = scoring._score_logits(logits, torch.tensor([2, 0]), 1.0, 9)
    np.testing.assert_allclose(entropies, [np.log(2), 0.0], atol=1e-7)
    assert logprobs.tolist() == [-np.inf, 0.0] and (entropies >= 0).all()
    assert ids.shape == top.shape == (2, 3)  # no more alternatives than tokens


def test_adapters_are_scored():
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    base = compute_token_scores(build_model(), PROMPTS, ANSWERS)
    torch.manual_seed(0)
    model = get_peft_model(build_model(), config)
    adapted = compute_token_scores(model, PROMPTS, ANSWERS)
    merged = compute_token_scores(model.merge_and_unload(), PROMPTS, ANSWERS)
    np.testing.assert_allclose(adapted[0].entropies, merged[0].entropies, atol=1e-5)
    assert np.abs(adapted[0].entropies - base[0].entropies).max() > 0.01


def test_the_model_is_left_as_it_was():
    model = build_model(attention_dropout=0.5).train()
    first, second = (compute_token_scores(model, PROMPTS, ANSWERS) for _ in range(2))
    assert (first[0].entropies == second[0].entropies).all()  # no dropout
    assert model.training and not model.model._forward_hooks
    with pytest.raises(IndexError):
        compute_token_scores(model, [[VOCABULARY_SIZE]], [[3]])
    assert model.training and not model.model._forward_hooks


def test_mistakes_are_named():
    model = build_model()
    with pytest.raises(ValueError, match="temperature must be positive, but it is 0"):
        compute_token_scores(model, PROMPTS, ANSWERS, temperature=0)
    with pytest.raises(ValueError, match="Prompt 1 has no tokens"):
        compute_token_scores(model, [[3], []], [[3], [4]])
    with torch.no_grad():
        model.model.embed_tokens.weight[5] = torch.nan
    with pytest.raises(ValueError, match="The entropy of answer 1, position . is NaN"):
        compute_token_scores(model, [[3], [3]], [[3, 3], [3, 5, 3]])
    with pytest.raises(ValueError, match="Qwen3Model has no base model"):
        compute_token_scores(model.model, PROMPTS, ANSWERS)
    assert compute_token_scores(model, [], []) == []


MEASURE_MEMORY = """
import sys
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl_forking.analysis import compute_token_scores

def read(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**20  # GiB

torch.set_num_threads(2)
sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
model = Qwen3ForCausalLM(Qwen3Config(vocab_size=151_936, num_key_value_heads=1, head_dim=32, **sizes))
compute_token_scores(model, [[1]], [[2]])  # what is loaded on the first call belongs to no answer
before = read("VmRSS")
(scores,) = compute_token_scores(model, [[1]], [list(range(4096))], top_alternatives=5)
assert scores.entropies.shape == (4096,) and scores.entropies.min() > 5
print(read("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of a process where Linux has it")
def test_memory_does_not_grow_with_vocabulary_times_length():
    result = subprocess.run([sys.executable, "-c", MEASURE_MEMORY], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    peak = float(result.stdout.splitlines()[-1])
    print(f"peak beyond the model: {peak:.2f} GiB")  # all logits at once would be 2.3 GiB for each copy
    assert 0.1 < peak < 1.5
