"""The tokenizer and the model that come with the package."""

import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_forking.countdown import (
    ASSETS,
    END_TOKEN,
    VOCABULARY,
    format_prompt,
)
from trl_forking.countdown import warm_start as countdown_warm_start


RIGHT = "5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes"
WRONG = "3 * 2 = 6 left 6 5 , 6 - 5 = 1 vs 16 no"
PROBLEM = ([3, 5, 2], 16)


def test_tokenizer_round_trip(tokenizer):
    texts = [format_prompt(*PROBLEM), f"{WRONG} {WRONG} {RIGHT} {END_TOKEN}", " ".join(VOCABULARY)]
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.convert_ids_to_tokens(ids) == text.split()
        assert len(ids) == len(text.split())
    assert tokenizer.decode(tokenizer(texts[1])["input_ids"], skip_special_tokens=True) == f"{WRONG} {WRONG} {RIGHT}"
    assert len(tokenizer) == 65
    padded = tokenizer([format_prompt(*PROBLEM), "5 + 3"], padding=True)
    assert padded["input_ids"][1][:4] == [tokenizer.pad_token_id] * 4
    assert padded["attention_mask"][1] == [0, 0, 0, 0, 1, 1, 1]


def test_shipped_files_are_those_that_the_code_builds(tokenizer, model):
    assert countdown_warm_start.build_countdown_tokenizer().get_vocab() == tokenizer.get_vocab()
    assert AutoTokenizer.from_pretrained(ASSETS).get_vocab() == tokenizer.get_vocab()
    built = countdown_warm_start.build_countdown_model().state_dict()
    shipped = model.state_dict()
    assert {name: tensor.shape for name, tensor in built.items()} == {k: v.shape for k, v in shipped.items()}
    assert {tensor.dtype for tensor in shipped.values()} == {torch.float32}
    assert 500_000 <= model.num_parameters() <= 700_000
    # What tokenizing in batches leaves behind must not be shipped.
    assert json.loads((ASSETS / "tokenizer.json").read_text())["padding"] is None
    # Names that Transformers 4 and 5 both read.
    assert json.loads((ASSETS / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    model_config = json.loads((ASSETS / "config.json").read_text())
    assert model_config["rope_theta"] == model_config["rope_parameters"]["rope_theta"] == 1000.0
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 4_000_000
    reloaded = AutoModelForCausalLM.from_pretrained(ASSETS, dtype=torch.float32)
    ids = torch.arange(59).unsqueeze(0)
    assert torch.equal(reloaded(ids).logits, model(ids).logits)


def test_padding_on_the_left_changes_nothing(tokenizer, model):
    text = f"{format_prompt(*PROBLEM)} {RIGHT}"
    plain = tokenizer(text, return_tensors="pt")
    padded = tokenizer(text, return_tensors="pt", padding="max_length", max_length=59)
    length = plain["input_ids"].size(1)
    torch.testing.assert_close(model(**padded).logits[:, -length:], model(**plain).logits, atol=1e-4, rtol=0)
