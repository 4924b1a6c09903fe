"""Where answers come from is told apart by every value of a model."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from helpers.collections_of_answers import run
from helpers.tiny import build_model
from trl_forking.analysis.provenance import compute_fingerprint


def fingerprint(dtype=torch.float32, change=lambda model: None):
    model = build_model().to(dtype)
    with torch.no_grad():
        change(model)
    return compute_fingerprint(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_every_single_value_counts(dtype):
    model = build_model().to(dtype)
    found = {fingerprint(dtype), compute_fingerprint(model)}
    assert len(found) == 1 and len(*found) == 16
    for parameter in model.parameters():
        values = parameter.data.view(-1)
        for index in {0, 16, 17, len(values) // 2, len(values) - 1} & {*range(len(values))}:
            before = values[index].item()
            values[index] = before * 1.5 + 1
            found.add(compute_fingerprint(model))
            values[index] = before
    assert compute_fingerprint(model) in found and len(found) > 100


def test_the_smallest_change_and_the_place_of_a_value_count():
    def next_number(model):
        model.lm_head.weight[20, 3] = torch.nextafter(model.lm_head.weight[20, 3], torch.tensor(9.0))

    def swap(model):
        model.lm_head.weight[[20, 21]] = model.lm_head.weight[[21, 20]]

    def exchange(model):
        first, second = model.model.layers[0].self_attn.q_proj, model.model.layers[1].self_attn.q_proj
        first.weight.data, second.weight.data = second.weight.data, first.weight.data

    def sign_of_zero(model):
        model.lm_head.weight[20, 3] = -0.0

    def zero(model):
        model.lm_head.weight[20, 3] = 0.0

    assert len({fingerprint(change=change) for change in (next_number, swap, exchange, sign_of_zero, zero)}) == 5


def test_buffers_adapters_and_ties_count():
    def add_buffer(model):
        model.register_buffer("bias_of_logits", torch.zeros(32))

    def fill_buffer(model):
        model.register_buffer("bias_of_logits", torch.eye(32)[31])

    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = [get_peft_model(build_model(seed=0), config) for _ in range(2)]
    adapted[1].base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight.data[3, 1] += 1
    tied, untied = (build_model(tie_word_embeddings=tie) for tie in (True, False))
    untied.lm_head.weight.data = untied.model.embed_tokens.weight.data.clone()
    models = [build_model(), *adapted, tied, untied]
    prints = [compute_fingerprint(model) for model in models]
    prints += [fingerprint(change=add_buffer), fingerprint(change=fill_buffer)]
    assert len(set(prints)) == len(prints)
    assert compute_fingerprint(build_model(tie_word_embeddings=True)) == compute_fingerprint(tied)


def test_training_a_row_of_the_embedding_between_two_parts_of_a_collection_is_refused(tmp_path):
    run(tmp_path, prompts=["w3", "w4"], verifier=None)
    model = build_model()
    model.get_input_embeddings().weight.data[20:] += 0.5
    with pytest.raises(ValueError, match="weights '"):
        run(tmp_path, model, prompts=["w3", "w4"], verifier=None)
