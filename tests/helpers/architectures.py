"""Tiny configurations of architectures other than the default one."""

from transformers import CohereConfig, Gemma2Config, GraniteConfig, PhiConfig, Qwen3MoeConfig

from helpers.tiny import EOS, PAD, VOCABULARY_SIZE


SIZES = {"vocab_size": VOCABULARY_SIZE, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": PAD, "eos_token_id": EOS}
CONFIGS = {
    "gemma2_softcapping": Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=5.0),
    "granite_scaling": GraniteConfig(**SIZES, logits_scaling=2.0),
    "cohere_scaling": CohereConfig(**SIZES, logit_scale=0.5),
    "phi_bias": PhiConfig(**SIZES),
    "mixture_of_experts": Qwen3MoeConfig(
        **SIZES, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, output_router_logits=True
    ),
}
