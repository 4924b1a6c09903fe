"""Which models see distances only: a row without its padding on the left gets the same logits from them."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    Ministral3Config,
    OPTConfig,
    Qwen3NextConfig,
)

from helpers.architectures import CONFIGS, SIZES
from helpers.tiny import build_model
from helpers.tiny_multimodal import build_vision_model
from trl_forking.update.positions import depends_on_length, sees_distances_only, takes_positions


OTHERS = {
    "learned": GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=32),
    "learned_from_mask": OPTConfig(**SIZES, ffn_dim=32, max_position_embeddings=32, word_embed_proj_dim=16),
    "linear_biases": BloomConfig(vocab_size=32, hidden_size=16, n_layer=2, n_head=2),
    "states": MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, state_size=4),
    "some_layers_with_states": Qwen3NextConfig(
        **SIZES, head_dim=8, linear_num_value_heads=2, linear_num_key_heads=2, linear_key_head_dim=8,
        linear_value_head_dim=8, num_experts=0, layer_types=["linear_attention", "full_attention"],
    ),
    "scaled_by_position": Ministral3Config(
        **SIZES, head_dim=8, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "llama_4_scaling_beta": 0.1}
    ),
    "dynamic": LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
}  # fmt: skip


def build(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def compute_change(model) -> float:
    """How far the logits of a row move if three columns of padding stand before it."""
    row = torch.randint(3, 32, (1, 9), generator=torch.Generator().manual_seed(0))
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), row], dim=1)
    mask = (torch.arange(12) >= 3).long().unsqueeze(0)
    with torch.no_grad():
        alone = model(input_ids=row, attention_mask=torch.ones_like(row)).logits
        behind = model(input_ids=padded, attention_mask=mask).logits[:, 3:]
    return (alone - behind).abs().max().item()


@pytest.mark.parametrize("name", CONFIGS)
def test_rotary_models_see_distances_only(name):
    model = build(CONFIGS[name])
    assert sees_distances_only(model) and takes_positions(model)
    assert compute_change(model) < 1e-5


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_keep_their_padding_on_the_left(name):
    assert not sees_distances_only(build(OTHERS[name]))


def test_learned_positions_change_with_the_padding():
    """The comparison can fail: GPT-2 counts columns."""
    assert compute_change(build(OTHERS["learned"])) > 1e-3


def test_length_of_the_batch():
    assert depends_on_length(OTHERS["dynamic"]) and not depends_on_length(OTHERS["learned"])
    assert not depends_on_length(build_model().config)


def test_models_that_see_images_compute_their_own_positions():
    model, _ = build_vision_model("qwen2_5_vl")
    assert not takes_positions(model)
