"""Tokens of prompts as TRL encodes them, and the room that a model's context leaves for an answer."""

import time

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    MambaConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from helpers.tiny import build_model, build_trainer
from trl_forking.run.lengths import check_lengths, count_tokens, find_context_length
from trl_forking.run.user_errors import UserError


def build_tokenizer_with_bos(template=None):
    """As Llama's: a text begins with the BOS token, and the chat template writes the token itself."""
    words = {"<s>": 0, "</s>": 1, "<unk>": 2} | {f"w{n}": n for n in range(3, 32)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>")  # fmt: skip
    tokenizer.chat_template = template
    return tokenizer


WITH_BOS = (
    "{{ bos_token }} {% for m in messages %}{{ m['content'] }} {% endfor %}{% if add_generation_prompt %}w3{% endif %}"
)
WITHOUT_BOS = WITH_BOS.removeprefix("{{ bos_token }} ")
CHAT = [{"role": "user", "content": "w5 w6 w7"}]


@pytest.mark.parametrize(
    ("prompt", "template", "number"),
    [("w5 w6 w7", None, 4), (CHAT, WITH_BOS, 5), (CHAT, WITHOUT_BOS, 4), ([*CHAT, *CHAT], WITH_BOS, 8)],
)
def test_prompts_are_counted_as_trl_encodes_them(prompt, template, number, tmp_path):
    """The BOS token of a template is counted once, and a template without one has none."""
    tokenizer = build_tokenizer_with_bos(template)
    assert count_tokens(prompt, tokenizer) == number
    trainer = build_trainer(str(tmp_path))
    trainer.processing_class = tokenizer
    assert [len(ids) for ids in trainer._tokenize_prompts([prompt])[0]] == [number]


def test_arguments_of_the_template_count_too(tmp_path):
    tokenizer = build_tokenizer_with_bos(WITH_BOS + "{% if think %} w4 w4{% endif %}")
    assert [count_tokens(CHAT, tokenizer, None, {"think": think}) for think in (False, True)] == [5, 7]
    trainer = build_trainer(str(tmp_path), chat_template_kwargs={"think": True})
    trainer.processing_class = tokenizer
    assert [len(ids) for ids in trainer._tokenize_prompts([CHAT])[0]] == [7]


def test_a_chat_that_cannot_be_rendered_is_one_sentence():
    with pytest.raises(UserError, match="The tokenizer has no chat template: set prompt_template to paper"):
        count_tokens(CHAT, build_tokenizer_with_bos())
    refusing = build_tokenizer_with_bos("{{ raise_exception('Roles must alternate') }}")
    with pytest.raises(UserError, match=r"The chat template of the model refuses this chat \(Roles must alternate\)"):
        count_tokens(CHAT, refusing)


@pytest.mark.parametrize("size", [199_999, 200_001, 450_000])
@pytest.mark.parametrize("unit", ["w5 ", "  "])
def test_a_long_text_is_counted_exactly_unless_it_is_above_the_limit(size, unit):
    tokenizer = build_tokenizer_with_bos(WITHOUT_BOS)
    text = (unit * size)[:size].rpartition(" ")[0]
    number = len(text.split()) + 1
    assert count_tokens(text, tokenizer) == count_tokens(text, tokenizer, number) == number
    assert count_tokens([{"role": "user", "content": text}], tokenizer, number) == number  # "w3" in place of "<s>"
    if number > 50_000:
        assert 50_000 < count_tokens(text, tokenizer, 50_000) <= number


# The context of a model

ROPE = {"rope_theta": 10000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, **ROPE}
LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ROPE}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (Qwen3Config(max_position_embeddings=512), 512),
        (GPT2Config(n_positions=256), 256),
        (LlavaConfig(text_config=LlamaConfig(max_position_embeddings=300)), 300),
        (MambaConfig(), None),
        (BloomConfig(), None),
        (Qwen3Config(max_position_embeddings=32768, rope_parameters=YARN), 131072),
        (Qwen3Config(max_position_embeddings=131072, rope_parameters=YARN), 131072),
        (LlamaConfig(max_position_embeddings=131072, rope_parameters=LLAMA_3), 131072),
        (
            LlamaConfig(max_position_embeddings=4096, rope_parameters={"rope_type": "linear", "factor": 2.0, **ROPE}),
            8192,
        ),
        (
            LlamaConfig(max_position_embeddings=4096, rope_parameters={"rope_type": "dynamic", "factor": 2.0, **ROPE}),
            None,
        ),
        (Gemma3TextConfig(max_position_embeddings=1024), 1024),
        (object(), None),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_the_context_of_a_model(config, length):
    assert find_context_length(config) == length


def test_old_names_of_a_longer_rope_are_read():
    config = LlamaConfig(max_position_embeddings=4096)
    config.rope_parameters = None
    config.rope_scaling = {"type": "linear", "factor": 4.0}
    assert find_context_length(config) == 16384


# The check


@pytest.mark.parametrize("prompt", ["w5 w6 w7", CHAT])
@pytest.mark.parametrize("template", [WITH_BOS, WITHOUT_BOS])
def test_the_last_token_that_fits_fits(prompt, template):
    tokenizer = build_tokenizer_with_bos(template)
    number = count_tokens(prompt, tokenizer)
    check_lengths([("a, row 7", prompt)], tokenizer, 8, context=number + 8)
    with pytest.raises(UserError) as error:
        check_lengths([("a, row 7", prompt)], tokenizer, 8, context=number + 7)
    assert str(error.value) == (
        f"a, row 7: the prompt has {number} tokens, and an answer up to 8 (max_completion_length), but prompt and answer "
        f"have room for {number + 7}: shorten the prompt, or lower max_completion_length."
    )


def test_an_answer_alone_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"max_completion_length is 12, but the model has room for 12 tokens"):
        check_lengths([], build_tokenizer_with_bos(), 12, context=12)
    check_lengths([("a", "w3")], None, 12, context=None)


def test_short_prompts_are_not_encoded():
    class Tokenizer:
        chat_template = None

        def __init__(self):
            self.texts = []

        def __call__(self, text):
            self.texts.append(text)
            return {"input_ids": text.split()}

    tokenizer, prompts = Tokenizer(), [("a", "w3 w4")] * 1000 + [("b", "w5 " * 900)]
    check_lengths(prompts, tokenizer, 8, context=1000)
    assert tokenizer.texts == ["", "w5 " * 900]
    check_lengths(
        [("a", "\ufdfa" * 30)], tokenizer, 8, context=1000
    )  # one character that some normalizers write as 18
    assert tokenizer.texts[-1] == "\ufdfa" * 30


@pytest.mark.parametrize("is_chat", [False, True])
@pytest.mark.parametrize("unit", ["w5 ", "x", "\u7684"])
def test_a_prompt_of_millions_of_characters_ends_at_once(unit, is_chat):
    tokenizer = build_character_tokenizer()
    text = (unit * 2_000_000)[:2_000_000]
    start = time.process_time()
    with pytest.raises(UserError, match=r"^a: the prompt has at least \d+ tokens, .* have room for 32768: "):
        check_lengths([("a", [{"role": "user", "content": text}] if is_chat else text)] * 9, tokenizer, 1024, 32768)
    assert time.process_time() - start < 10


def build_character_tokenizer():
    """One token for each byte: the most tokens that a text can have."""
    tokenizer = Tokenizer(models.BPE({character: n for n, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=WITHOUT_BOS)


@pytest.mark.parametrize("length", [40, 2_000_000])
def test_the_trainer_refuses_a_prompt_beyond_the_context(tmp_path, length):
    """Before the first generation, also where the trainer is built by hand."""
    rows = {"prompt": ["w3 w4", " ".join(["w5"] * length)], "number": [0, 1]}
    settings = {"rollout_func": None, "train_dataset": Dataset.from_dict(rows), "num_generations": 4}
    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    with pytest.raises(
        ValueError, match=r"^train_dataset, row 2: the prompt has (at least )?\d+ tokens, and an answer up to 12"
    ):
        build_trainer(tmp_path, model=build_model(max_position_embeddings=48), **settings, **sizes)
    build_trainer(
        tmp_path, model=build_model(max_position_embeddings=48), rollout_func=None, num_generations=4, **sizes
    )
