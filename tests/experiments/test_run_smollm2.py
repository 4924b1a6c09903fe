"""What the script for SmolLM2 adds to the trainer."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from run_smollm2 import merge_for_generation
from training import open_unfinished
from transformers import LlamaConfig, LlamaForCausalLM


def test_generation_with_a_merged_adapter_leaves_the_weights_as_they_were():
    torch.manual_seed(0)
    sizes = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=2, bos_token_id=None, eos_token_id=None, pad_token_id=0)
    lora = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(LlamaForCausalLM(config), lora).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = {"input_ids": torch.tensor([[1, 2, 3]]), "max_new_tokens": 8, "do_sample": False}
    settings |= {"output_logits": True, "return_dict_in_generate": True}
    expected = model.generate(**settings)
    with model.disable_adapter():
        without_adapter = model.generate(**settings)
    merge_for_generation(model)
    merged = model.generate(**settings)
    assert not torch.allclose(without_adapter.logits[0], expected.logits[0], atol=1e-3)
    torch.testing.assert_close(merged.logits, expected.logits, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_folder_has_its_name_only_when_it_is_complete(tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(RuntimeError), open_unfinished(folder) as unfinished:
        unfinished.mkdir()
        raise RuntimeError
    assert not folder.exists()
    with open_unfinished(folder) as unfinished:
        unfinished.mkdir(exist_ok=True)
        (unfinished / "weights").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
