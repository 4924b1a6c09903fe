"""Records are the same after writing and reading, and the pieces of an answer join to the answer."""

import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trl_forking.analysis import (
    ScoredAnswer,
    TokenTexts,
    clear_records,
    find_missing_shards,
    iterate_records,
    read_records,
    read_settings,
    write_records,
    write_settings,
    write_shard,
)
from trl_forking.countdown import VOCABULARY, load_countdown_tokenizer


TEXT = "The cafés — “so”, שלום עולם, 東京 it isn't <b>&amp;</b>  \n\n\tx²≥y 👩‍👩‍👧 🏳️‍🌈 e\u0301."
CORPUS = ["The cafés are so so.", "שלום world", "it isn't <b> the xs", "東京 is the the capital"]
REPLACEMENT = "\ufffd"


def build_byte_level(vocabulary_size=300):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def build_sentencepiece():
    """As the vocabularies of Llama 2 and Gemma: pieces that begin with a space, and one token for each byte."""
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    pieces += ["▁the", "▁The", "s", "o", "▁so", ".", "c", "a", "f", "é", "t", "h", "e"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [], byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def build_wordpiece():
    """Glues word endings and takes the space before a full stop away."""
    words = {word: i for i, word in enumerate(["[UNK]", "the", "cap", "##ital", "##s", ".", "n", "'", "t"])}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


class NeighborTokenizer:
    """Writes a token twice behind an equal one: its text depends on what no other tokenizer looks at."""

    def decode(self, ids, **kwargs):
        return "".join(f"<{i}>" * (2 if k and ids[k - 1] == i else 1) for k, i in enumerate(ids))

    def convert_ids_to_tokens(self, token_id):
        return f"#{token_id}"


TOKENIZERS = {
    "byte_level": build_byte_level(),
    "bytes_only": build_byte_level(257),
    "sentencepiece": build_sentencepiece(),
    "wordpiece": build_wordpiece(),
    "countdown": load_countdown_tokenizer(),
}


def encode(tokenizer, text=TEXT):
    words = "3 * 5 = 15 left 15 2 , 15 - 2 = 13 vs 16 no"
    return tokenizer.encode(words if tokenizer is TOKENIZERS["countdown"] else text, add_special_tokens=False)


def decode(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_pieces_join_to_the_text(name):
    tokenizer = TOKENIZERS[name]
    texts, source = TokenTexts(tokenizer), random.Random(0)
    encoded = encode(tokenizer)
    cuts = [encoded[start : start + length] for start in range(len(encoded)) for length in (0, 1, 2, 7)]
    garbage = [source.choices(range(len(tokenizer)), k=source.randint(1, 30)) for _ in range(200)]
    for ids in [encoded, encoded[::-1], *cuts, *garbage]:
        pieces = texts.split(ids)
        assert len(pieces) == len(ids)
        assert "".join(pieces) == decode(tokenizer, ids)


@pytest.mark.parametrize("name", ["bytes_only", "sentencepiece"])
def test_a_character_belongs_to_the_token_that_completes_it(name):
    tokenizer = TOKENIZERS[name]
    if name == "bytes_only":
        ids = tokenizer.encode("a東b👩c")
    else:
        ids = [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "a東b👩c".encode()]
    assert TokenTexts(tokenizer).split(ids) == ["a", "", "", "東", "b", "", "", "", "👩", "c"]


def test_an_answer_cut_in_a_character_says_so_at_its_end():
    ids = TOKENIZERS["bytes_only"].encode("a東")[:-1]
    assert TokenTexts(TOKENIZERS["bytes_only"]).split(ids) == ["a", "", REPLACEMENT]


def test_an_invalid_byte_takes_its_neighbors_along_with_byte_fallback():
    tokenizer = TOKENIZERS["sentencepiece"]
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ("▁so", "<0xC3>", "<0xA9>", "<0xFF>", "▁so")]
    assert TokenTexts(tokenizer).split(ids) == ["so", REPLACEMENT, REPLACEMENT, REPLACEMENT, " so"]


@pytest.mark.parametrize("name", ["byte_level", "sentencepiece", "countdown"])
def test_special_tokens_are_text(name):
    tokenizer = TOKENIZERS[name]
    ids = [tokenizer.eos_token_id] * 2
    assert all(tokenizer.eos_token in piece for piece in TokenTexts(tokenizer).split(ids))


def test_only_the_first_word_has_no_space_before_it():
    tokenizer = TOKENIZERS["countdown"]
    assert TokenTexts(tokenizer).split(tokenizer.encode("3 * 3")) == ["3", " *", " 3"]
    assert TokenTexts(tokenizer).name(tokenizer.convert_tokens_to_ids("3")) == " 3"


def test_names_of_bytes_that_are_no_text():
    byte_level, fallback = TOKENIZERS["bytes_only"], TOKENIZERS["sentencepiece"]
    assert [TokenTexts(byte_level).name(i) for i in byte_level.encode("é ")] == ["\\xc3", "\\xa9", " "]
    assert TokenTexts(fallback).name(fallback.convert_tokens_to_ids("<0xC3>")) == "\\xc3"
    assert TokenTexts(fallback).name(fallback.convert_tokens_to_ids("<0x0A>")) == "\n"
    assert TokenTexts(fallback).name(fallback.convert_tokens_to_ids("▁so")) == " so"


def test_a_tokenizer_unlike_all_others_is_exact_too():
    ids, tokenizer = [3, 3, 3, 4, 4, 5], NeighborTokenizer()
    assert TokenTexts(tokenizer).split(ids) == ["<3>", "<3><3>", "<3><3>", "<4>", "<4><4>", "<5>"]


@pytest.mark.parametrize("name", ["bytes_only", "sentencepiece", "countdown"])
@pytest.mark.parametrize("kind", ["text", "garbage"])
def test_time_is_linear_in_the_number_of_tokens(name, kind):
    tokenizer = TOKENIZERS[name]
    source = random.Random(0)
    ids = (encode(tokenizer) * 100_000)[:100_000]
    if kind == "garbage":
        ids = source.choices(range(len(tokenizer)), k=100_000)
    start = time.perf_counter()
    pieces = TokenTexts(tokenizer).split(ids)
    assert time.perf_counter() - start < 10  # a second on an idle machine; quadratic time would be minutes
    assert len(pieces) == 100_000 and "".join(pieces) == decode(tokenizer, ids)


def build_record(num_tokens=3, num_alternatives=2, **fields):
    source = np.random.default_rng(num_tokens)
    values = {
        "prompt_index": 7,
        "answer_index": 1,
        "prompt": "<b>שלום</b>\x00\n",
        "token_ids": source.integers(0, 150_000, num_tokens, dtype=np.int32),
        "tokens": [f" w{i}" for i in range(num_tokens)],
        "entropies": source.random(num_tokens, np.float32),
        "logprobs": -source.random(num_tokens, np.float32),
        "top_tokens": [[f"{i}.{k}" for k in range(num_alternatives)] for i in range(num_tokens)],
        "top_logprobs": -source.random((num_tokens, num_alternatives), np.float32),
    }
    return ScoredAnswer(**(values | fields))


def assert_same(first, second):
    for name in ScoredAnswer.__dataclass_fields__:
        one, other = getattr(first, name), getattr(second, name)
        if isinstance(one, np.ndarray):
            assert one.shape == other.shape and one.dtype == other.dtype and (one == other).all(), name
        else:
            assert one == other and type(one) is type(other), name


RECORDS = {
    "plain": build_record(),
    "all_fields": build_record(
        reward=0.5, is_truncated=True, kept=np.array([True, False, True]), hes=1.25, prompt_ids=np.array([1], np.int32)
    ),
    "no_tokens": build_record(0, 0),
    "no_tokens_known": build_record(0, 0, kept=np.zeros(0, bool), prompt_ids=np.zeros(0, np.int32), reward=0.0),
    "one_token": build_record(1),
    "no_alternatives": build_record(4, 0),
    "infinite": build_record(1, logprobs=np.array([-np.inf], np.float32), top_logprobs=np.full((1, 2), -np.inf, "f4")),
    "long": build_record(100_000, 1),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_comes_back_as_it_was(tmp_path, name):
    write_records(tmp_path / "run", [RECORDS[name]], {"model": "tiny"})
    (record,) = read_records(tmp_path / "run")
    assert_same(RECORDS[name], record)
    assert read_settings(tmp_path / "run") == {"model": "tiny", "num_shards": 1}


def test_records_come_in_order_and_one_shard_at_a_time(tmp_path):
    write_settings(tmp_path, {"num_shards": 12})
    for shard in (11, *range(11)):
        write_shard(tmp_path, shard, [build_record(prompt_index=shard, answer_index=i) for i in range(20)])
    records = iterate_records(tmp_path)
    next(records)
    (tmp_path / "answers" / "00011.parquet").unlink()  # it has not been opened
    with pytest.raises(FileNotFoundError):
        list(records)
    write_shard(tmp_path, 11, [build_record(prompt_index=11, answer_index=i) for i in range(20)])
    order = [(record.prompt_index, record.answer_index) for record in iterate_records(tmp_path)]
    assert order == [(prompt, answer) for prompt in range(12) for answer in range(20)]


def test_an_unfinished_or_absent_collection_is_refused(tmp_path):
    write_settings(tmp_path, {"num_shards": 3})
    write_shard(tmp_path, 1, [])
    assert find_missing_shards(tmp_path) == [0, 2]
    with pytest.raises(ValueError, match="has 1 of 3 shards"):
        read_records(tmp_path)
    with pytest.raises(ValueError, match=r"run\.json is missing"):
        read_records(tmp_path / "other")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is no JSON object"):
        read_settings(tmp_path)


def interrupt(*args):
    raise KeyboardInterrupt


def test_a_writer_killed_in_a_shard_leaves_none(tmp_path, monkeypatch):
    write_settings(tmp_path, {"num_shards": 1})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupt)
        patch.setattr(Path, "unlink", lambda *args, **kwargs: None)  # a process that is killed removes nothing
        write_shard(tmp_path, 0, [])
    assert len(list((tmp_path / "answers").iterdir())) == 1 and find_missing_shards(tmp_path) == [0]
    write_shard(tmp_path, 0, [build_record()])
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["00000.parquet"]


def test_clearing_leaves_other_files_alone(tmp_path):
    write_records(tmp_path, [build_record()])
    (tmp_path / "answers" / "_00001.parquet.partial").write_text("what a killed writer left")
    for other in ("notes.txt", "answers/notes.txt"):
        (tmp_path / other).write_text("mine")
    clear_records(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["notes.txt", "notes.txt"]


def test_equal_records_are_equal_files(tmp_path):
    for folder in ("a", "b"):
        write_records(tmp_path / folder, list(RECORDS.values()), {"name": "é"})
    for name in ("run.json", "answers/00000.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert json.loads((tmp_path / "a" / "run.json").read_text(encoding="utf-8"))["name"] == "é"


@pytest.mark.parametrize("field", ["tokens", "entropies", "logprobs", "top_tokens", "top_logprobs", "kept"])
def test_a_field_of_another_length_is_refused(field):
    longer = {"tokens": ["a"] * 4, "top_tokens": [[]] * 4}.get(field, np.zeros(4, np.float32))
    with pytest.raises(ValueError, match=f"Answer 1 to prompt 7 has 3 tokens, but {field} has 4"):
        build_record(**{field: longer})


def test_correct_means_a_positive_reward():
    assert [build_record(reward=reward).is_correct for reward in (1.0, 0.0, -1.0, None)] == [True, False, False, None]
    assert build_record().completion == " w0 w1 w2"
    assert len(VOCABULARY) == len(TOKENIZERS["countdown"])
