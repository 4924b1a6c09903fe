"""A tiny model with random weights of every causal architecture that Transformers has, built by rules for the names of its settings."""

import re
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASS_NAMES

from helpers.tiny import EOS, PAD, VOCABULARY_SIZE


# The first pattern that a name matches decides. Whole numbers only; others keep their defaults.
_SIZES = {
    r"^(padded_|unpadded_|decoder_)?vocab_size(_per_layer_input)?$": VOCABULARY_SIZE,
    r"^hidden_size_per_layer_input$": 8,
    r"^(qk_rope|qk_nope|v)_head_dim$": 8,
    r"^qk_head_dim$": 16,
    r"lora_rank$": 8,
    r"head_dim$|^dim_head$|^d_head$|^kv_channels$|^rotary_dim$|^attention_head_size$|^mamba_d_head$|^mamba_headdim$": 8,
    r"intermediate_size$|ffn_dim$|^d_inner$|^dff$|^dim_ff$|^ffn_hidden_size$|^expert_ffn_hidden_size$|^feed_forward_size$": 32,
    r"hidden_size$|^d_model$|^n_embd$|^emb_dim$|^embedding_dim$|^word_embed_proj_dim$|embedding_size$|^lru_width$": 32,
    r"num_hidden_layers$|^n_layers?$|^num_layers$|coder_layers$|^num_blocks$": 2,
    r"num_key_value_heads$|^num_query_groups$": 2,
    r"num_attention_heads$|^n_heads?$|attention_heads$|^num_heads$|linear_num.*heads$|^n_mamba_heads$": 4,
    r"^(max_position_embeddings|n_positions|n_ctx|max_seq_len|context_length|model_max_length)$": 64,
    r"^(num_experts|num_local_experts|n_routed_experts|moe_num_experts|zero_expert_num)$": 4,
    r"experts_per_tok(en)?$|^moe_topk$|^moe_k$|^top_k$": 2,
    r"^(n_group|num_expert_group|topk_group|first_k_dense_replace|n_shared_experts|mamba_n_groups|n_groups)$": 1,
    r"chunk_size$|^index_topk$|chunk_length$": 4,
    r"^(mamba_d_state|state_size|mamba_dt_rank|time_step_rank)$": 4,
    r"^(shape|pronunciation)_vocab_size$|_hash_byte_group_vocab$": 8,
}
_DEFAULT_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
_MULTI_HEAD_LATENT = {"num_key_value_heads": 4, "head_dim": 8}
_ADJUSTED: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8, "attn_layer_indices": [1]},
    "cpmant": {"prompt_length": 4, "prompt_types": 4},
    "dbrx": {
        "attn_config": {"clip_qkv": 8.0, "kv_n_heads": 1, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 2, "moe_top_k": 1, "hidden_size": 32},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"mamba_n_heads": 8, "layer_types": ["mamba", "attention"]},
    "hunyuan_v1_dense": {"head_dim": 8} | _DEFAULT_ROPE,
    "hunyuan_v1_moe": {"head_dim": 8} | _DEFAULT_ROPE,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "mamba2": {"num_heads": 8},
    "ministral": {"head_dim": 8} | _DEFAULT_ROPE,
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {"is_decoder": True, "attn_layers": ["local", "lsh"], "axial_pos_shape": [4, 16], "axial_pos_embds_dim": [16, 16]},
    "roc_bert": {"pronunciation_embed_dim": 8, "shape_embed_dim": 8},
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip


def build_causal_model(model_type: str, class_name: str | None = None, **settings: Any) -> Any:
    """A model of an architecture; its weights are large enough that logits differ by several nats."""
    config = build_config(model_type, **settings)
    model_class = getattr(transformers, class_name or CLASS_NAMES[model_type])
    with torch.device("meta"):
        num_parameters = sum(parameter.numel() for parameter in model_class(config).parameters())
    assert num_parameters < 3e6, f"a tiny {model_type} has {num_parameters:,} parameters"
    torch.manual_seed(0)
    model = model_class(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(5.0)
    return model


def build_config(model_type: str, **settings: Any) -> Any:
    config_class = CONFIG_MAPPING[model_type]
    defaults = {name: value for name, value in vars(config_class()).items() if not name.startswith("_")}
    sizes = {name: _find_size(name) for name, value in defaults.items() if type(value) is int}
    tiny = {name: size for name, size in sizes.items() if size is not None}
    if "kv_lora_rank" in defaults:
        tiny |= _MULTI_HEAD_LATENT
    lists = {name: value for name, value in defaults.items() if name.endswith(("layer_types", "block_type"))}
    for name, value in lists.items():
        kinds = list(dict.fromkeys(value or []))[:2]
        if kinds:
            tiny[name] = (kinds * 2)[:2]
    tokens = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": 2}
    return config_class(**(tiny | tokens | _ADJUSTED.get(model_type, {}) | settings))


def _find_size(name: str) -> int | None:
    return next((size for pattern, size in _SIZES.items() if re.search(pattern, name)), None)
