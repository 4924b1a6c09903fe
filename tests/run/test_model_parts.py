"""What is drawn at random in training is seen, whatever it is called."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BioGptConfig,
    BioGptForCausalLM,
    DbrxConfig,
    DbrxForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
)
from transformers.integrations.neftune import activate_neftune

from helpers.tiny import EOS, PAD, VOCABULARY_SIZE, build_model, build_trainer, roll_out
from trl_forking.run.model_parts import has_dropout


SIZES = {"vocab_size": VOCABULARY_SIZE, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
SIZES |= {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": None}


def build_opt(**config):
    sizes = {"ffn_dim": 32, "word_embed_proj_dim": 16, "max_position_embeddings": 64}
    torch.manual_seed(0)
    return OPTForCausalLM(OPTConfig(**SIZES, **sizes, **({"dropout": 0.0} | config)))


def build_biogpt(**config):
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} | config
    return BioGptForCausalLM(BioGptConfig(**SIZES, intermediate_size=32, **plain))


def build_phimoe(**config):
    sizes = {"num_key_value_heads": 1, "intermediate_size": 16, "num_local_experts": 2}
    plain = {"router_jitter_noise": 0.0, "input_jitter_noise": 0.0} | config
    return PhimoeForCausalLM(PhimoeConfig(**SIZES, **sizes, **plain))


def build_dbrx(**experts):
    sizes = {"vocab_size": 32, "d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 64}
    parts = {"attn_config": {"clip_qkv": 8.0, "kv_n_heads": 1, "rope_theta": 1e4}}
    parts["ffn_config"] = {"ffn_hidden_size": 16, "moe_num_experts": 2, "moe_top_k": 1, "hidden_size": 16} | experts
    return DbrxForCausalLM(DbrxConfig(**sizes, **parts, resid_pdrop=0.0, emb_pdrop=0.0))


def build_adapted(**config):
    return get_peft_model(build_model(), LoraConfig(r=2, target_modules=["q_proj"], **config))


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (build_model, {"attention_dropout": 0.1}),
        (build_opt, {"dropout": 0.1}),
        (build_opt, {"layerdrop": 0.1}),
        (build_biogpt, {"layerdrop": 0.1}),
        (build_phimoe, {"router_jitter_noise": 0.01}),
        (build_phimoe, {"input_jitter_noise": 0.01}),
        (build_dbrx, {"moe_jitter_eps": 0.01}),
        (build_adapted, {"lora_dropout": 0.05}),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_what_a_model_draws_at_random_is_seen(build, setting):
    assert has_dropout(build(**setting))
    assert not has_dropout(build())


def test_noise_that_training_adds_is_seen():
    """Transformers writes NEFTune's noise onto the embeddings when training begins."""
    model = build_model()
    model.get_input_embeddings().neftune_noise_alpha = 5.0
    assert has_dropout(model)


@pytest.mark.parametrize("setting", [{"layerdrop": 0.5}, {"neftune_noise_alpha": 5.0}], ids=str)
def test_layers_that_are_dropped_do_not_choose_the_tokens(tmp_path, setting):
    """TRL scores an off-policy rollout itself, in training mode."""
    noise = {name: value for name, value in setting.items() if name == "neftune_noise_alpha"}
    model = build_opt(**{name: value for name, value in setting.items() if name not in noise})
    sizes = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "sparse_update": False}
    trainer = build_trainer(tmp_path, model=model, num_iterations=2, **sizes, **noise)
    if noise:
        activate_neftune(trainer.model, trainer.neftune_noise_alpha, trainer.accelerator)
    first, second = roll_out(trainer), roll_out(trainer)
    assert "old_per_token_logps" in first
    assert not torch.equal(first["old_per_token_logps"], second["old_per_token_logps"]), "nothing was drawn at random"
    assert torch.equal(first["entropies"], second["entropies"]) and torch.equal(first["kept"], second["kept"])
