"""Collecting answers: what is written, how a killed run continues, what is refused."""

import json
import math
import signal
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from helpers.collections_of_answers import ROWS, count_words, run
from helpers.processes import run_worker
from helpers.tiny import EOS, build_model, build_tokenizer
from trl_forking.analysis import (
    compute_hes,
    compute_token_scores,
    load_model,
    read_records,
    read_settings,
)
from trl_forking.analysis.collect import encode_prompt
from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler, VllmSampler, build_sampler


def read_files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("collect") / "run", temperature=0.8, top_alternatives=2, hes=True)


def test_a_record_says_what_was_drawn_and_how_sure_the_model_was(finished):
    model, tokenizer, records = build_model().eval(), build_tokenizer(), read_records(finished)
    assert [(r.prompt_index, r.answer_index) for r in records] == [(i, j) for i in range(7) for j in range(3)]
    assert {record.is_truncated for record in records} == {True, False}
    for record in records:
        prompt, answer = record.prompt_ids.tolist(), record.token_ids.tolist()
        assert record.prompt == ROWS[record.prompt_index]["prompt"] and prompt == tokenizer(record.prompt)["input_ids"]
        assert EOS not in answer[:-1] and len(answer) <= 12
        assert record.is_truncated == (answer[-1] != EOS) and (not record.is_truncated or len(answer) == 12)
        assert record.completion == tokenizer.decode(answer)
        words = tokenizer.decode(answer, skip_special_tokens=True)
        assert record.reward == count_words(ROWS[record.prompt_index], words)
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
        logprobs = (logits / 0.8).log_softmax(-1).detach()
        np.testing.assert_allclose(record.entropies, -(logprobs.exp() * logprobs).sum(-1), atol=1e-5)
        np.testing.assert_allclose(record.logprobs, logprobs[range(len(answer)), answer], atol=1e-5)
        top = logprobs.topk(2)
        np.testing.assert_allclose(record.top_logprobs, top.values, atol=1e-5)
        assert record.top_tokens == [[" " + tokenizer.decode([i]) for i in row] for row in top.indices.tolist()]
        assert record.hes == pytest.approx(record.entropies.max())
    assert len({tuple(record.token_ids) for record in records}) > 15


def test_settings_are_written(finished):
    settings = read_settings(finished)
    assert settings["temperature"] == 0.8 and settings["num_prompts"] == 7 and settings["num_shards"] == 4
    assert settings["verifier"] == "count_words" and settings["dtype"] == "float32"
    assert set(settings["versions"]) == {"trl_forking", "transformers", "torch"}


def test_nothing_is_added_that_was_not_asked_for(tmp_path):
    for record in read_records(run(tmp_path, top_alternatives=0, verifier=None)):
        assert record.reward is record.hes is record.kept is None and record.is_correct is None
        assert record.top_tokens == [[]] * len(record.token_ids)


def test_a_finished_collection_is_left_as_it_is(finished, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    monkeypatch.setattr(TransformersSampler, "sample", None)
    assert run(finished, temperature=0.8, top_alternatives=2, hes=True) == finished
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_files(tmp_path, finished):
    folder = tmp_path / "run"
    killed = run_worker("collect_worker.py", str(folder))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(read_files(folder)) == ["00000.parquet", "00001.parquet", "run.json"]
    run(folder, temperature=0.8, top_alternatives=2, hes=True)
    assert read_files(folder) == read_files(finished)


def test_a_missing_shard_is_filled_in_and_random_numbers_of_the_caller_stay(tmp_path, finished):
    folder = run(tmp_path / "run", temperature=0.8, top_alternatives=2, hes=True)
    (folder / "answers" / "00002.parquet").unlink()
    model = build_model()  # which sets a seed
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    run(folder, model, temperature=0.8, top_alternatives=2, hes=True)
    assert torch.equal(torch.rand(3), expected)
    assert read_files(folder) == read_files(finished)


OTHER = {
    "temperature": ({"temperature": 0.9}, "temperature 1.0, not 0.9"),
    "seed": ({"seed": 6}, "seed 5, not 6"),
    "two": ({"seed": 6, "top_p": 0.5}, "top_p 1.0, not 0.5 and seed 5, not 6"),
    "shards": ({"batch_size": 3}, "batch_size 2, not 3: "),
    "number_of_prompts": ({"prompts": ROWS[:5]}, "num_prompts 7, not 5: "),
    "prompts": ({"prompts": [*ROWS[:6], {"prompt": "w4", "number": 6}]}, "prompts '"),
    "weights": ({"model": build_model(seed=1)}, "weights '"),
    "type": ({"model": build_model().bfloat16()}, "dtype 'float32', not 'bfloat16'"),
    "verifier": ({"verifier": None}, "verifier 'count_words', not None"),
    "description": ({"description": {"data": "b.jsonl"}}, "data None, not 'b.jsonl'"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("collect") / "plain")


@pytest.mark.parametrize("name", OTHER)
def test_other_settings_are_refused_by_name(plain, name):
    before, (settings, message) = read_files(plain), OTHER[name]
    with pytest.raises(ValueError, match="choose another folder, or overwrite") as error:
        run(plain, **settings)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1
    assert read_files(plain) == before


def test_another_version_is_no_other_setting(tmp_path, plain):
    settings = read_settings(run(tmp_path)) | {"versions": {"torch": "2.6"}}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    run(tmp_path)


def test_overwrite_begins_anew(tmp_path):
    run(tmp_path)
    run(tmp_path, seed=6, prompts=ROWS[:2], overwrite=True)
    assert read_settings(tmp_path)["seed"] == 6 and len(read_records(tmp_path)) == 6


def test_answers_differ_between_batches_of_the_same_prompt(tmp_path):
    run(tmp_path, prompts=["w3"] * 4, verifier=None, batch_size=1)
    answers = [tuple(record.token_ids) for record in read_records(tmp_path)]
    assert len(set(answers)) > 8


def test_an_answer_that_ends_at_the_limit_is_not_truncated(tmp_path):
    prompts = [f"w{i}" for i in range(3, 32)]
    run(tmp_path, prompts=prompts, verifier=None, num_generations=20, max_completion_length=1, batch_size=29)
    records = read_records(tmp_path)
    assert all(record.is_truncated == (record.token_ids.tolist() != [EOS]) for record in records)
    assert {record.is_truncated for record in records} == {True, False}


def test_what_the_model_would_add_to_sampling_is_left_out(tmp_path):
    model = build_model()
    model.generation_config.update(repetition_penalty=5.0, top_k=1, min_p=0.9, eos_token_id=[EOS, 7])
    model.train()
    plain = TransformersSampler(build_model(), build_tokenizer(), SamplingSettings(8, 30)).sample([[3]], seed=0)[0]
    answers = TransformersSampler(model, build_tokenizer(), SamplingSettings(8, 30)).sample([[3]], seed=0)[0]
    assert model.generation_config.top_k == 1 and model.training
    ends = [answer.index(7) + 1 if 7 in answer else len(answer) for answer in plain]
    assert answers == [answer[:end] for answer, end in zip(plain, ends, strict=True)]
    assert any(7 in answer for answer in answers)  # the other token that ends an answer


def test_padding_on_the_left_does_not_move_the_distribution():
    sampler = TransformersSampler(build_model(), build_tokenizer(), SamplingSettings(2000, 1))
    short, _ = sampler.sample([[3], [4, 5, 6, 7, 8, 9]], seed=0)
    logits = build_model().eval()(torch.tensor([[3]])).logits[0, -1]
    counts = np.bincount([answer[0] for answer in short], minlength=32) / 2000
    np.testing.assert_allclose(counts, logits.softmax(-1).detach(), atol=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_generations": 0}, "num_generations must be at least 1, but it is 0"),
        ({"max_completion_length": 0}, "max_completion_length must be at least 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]"),
        ({"top_k": -1}, "top_k must be 0"),
        ({"batch_size": 0}, "batch_size at least 1"),
        ({"top_alternatives": -1}, "top_alternatives must be at least 0"),
        ({"prompts": []}, "no prompts"),
        ({"prompts": ["w3", "w4", ""]}, "Prompt 2 has no tokens"),
        ({"prompts": [[{"role": "user", "content": "w3"}]]}, "no chat template"),
    ],
)
def test_mistakes_are_named(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", verifier=None, **settings)


def test_chats_go_through_the_template():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "w3 {% for m in messages %}{{ m['content'] }} {% endfor %}w4"
    text, ids = encode_prompt([{"role": "user", "content": "w5 w6"}], tokenizer)
    assert text == "w3 w5 w6 w4" and ids == [3, 5, 6, 4]


# vLLM's classes, as far as they are used. A keyword that they do not have here is a TypeError.


@dataclass
class SamplingParams:
    n: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop_token_ids: list[int]
    seed: int


class LLM:
    def __init__(self, model: str, gpu_memory_utilization: float, dtype: str, trust_remote_code: bool = False):
        self.settings = (model, gpu_memory_utilization, dtype, trust_remote_code)

    def generate(self, prompts: list[dict], sampling_params: list[SamplingParams], use_tqdm: bool) -> list:
        requests = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            settings = SamplingSettings(params.n, params.max_tokens, params.temperature, params.top_p, params.top_k)
            sampler = TransformersSampler(build_model(), build_tokenizer(), settings)
            (answers,) = sampler.sample([prompt["prompt_token_ids"]], params.seed % 2**32)
            requests.append(SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(answer)) for answer in answers]))
        return requests


@pytest.fixture
def vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=SamplingParams))


def test_vllm_draws_and_transformers_scores(tmp_path, vllm):
    run(tmp_path, use_vllm=True, temperature=0.8, prompts=[ROWS[0]] * 4)
    records = read_records(tmp_path)
    assert len(records) == 12 and len({tuple(record.token_ids) for record in records}) > 8
    prompts, answers = [record.prompt_ids for record in records], [record.token_ids for record in records]
    scores = compute_token_scores(build_model(), prompts, answers, temperature=0.8)
    for record, score in zip(records, scores, strict=True):
        np.testing.assert_allclose(record.entropies, score.entropies, atol=2e-6)
    with pytest.raises(ValueError, match="use_vllm True, not False"):
        run(tmp_path, temperature=0.8, prompts=[ROWS[0]] * 4)


def test_vllm_gets_the_model_as_it_is_scored(vllm):
    model = SimpleNamespace(
        name_or_path="org/name", generation_config=SimpleNamespace(eos_token_id=7), dtype=torch.bfloat16
    )
    sampler = build_sampler(model, build_tokenizer(), SamplingSettings(), True)
    assert sampler.engine.settings == ("org/name", 0.3, "bfloat16", False) and sampler.eos_token_ids == [EOS, 7]
    settings = {"gpu_memory_utilization": 0.5, "trust_remote_code": True, "dtype": "float16"}
    sampler = build_sampler(model, build_tokenizer(), SamplingSettings(), True, **settings)
    assert sampler.engine.settings == ("org/name", 0.5, "float16", True)


def test_vllm_would_run_other_weights_of_a_gguf_file(vllm):
    model = SimpleNamespace(name_or_path="model.gguf", generation_config=SimpleNamespace(eos_token_id=7))
    with pytest.raises(ValueError, match="takes no GGUF file"):
        build_sampler(model, build_tokenizer(), SamplingSettings(), use_vllm=True)


def test_vllm_is_missing_or_would_lose_an_adapter(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match=r"pip install 'trl-forking\[vllm\]'"):
        VllmSampler("org/name", SamplingSettings(), [EOS])
    adapted = get_peft_model(build_model(), LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(ValueError, match="without the adapter"):
        build_sampler(adapted, build_tokenizer(), SamplingSettings(), use_vllm=True)


@pytest.mark.parametrize("brings_tokenizer", [True, False])
def test_a_model_and_an_adapter_on_it_are_loaded(tmp_path, brings_tokenizer):
    build_model().save_pretrained(tmp_path / "base")
    build_tokenizer().save_pretrained(tmp_path / "base")
    base, tokenizer = load_model(str(tmp_path / "base"))
    assert base.dtype == torch.float32 and not base.training and tokenizer.eos_token_id == EOS
    assert base.name_or_path == str(tmp_path / "base")
    assert load_model(str(tmp_path / "base"), dtype="bfloat16")[0].dtype == torch.bfloat16

    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(base, config)
    (expected,) = compute_token_scores(adapted, [[3]], [[4, 5, 6]])
    adapted.save_pretrained(tmp_path / "adapter")
    if brings_tokenizer:
        tokenizer.add_special_tokens({"eos_token": "w9"})
        tokenizer.save_pretrained(tmp_path / "adapter")
    model, tokenizer = load_model(str(tmp_path / "adapter"))
    assert tokenizer.eos_token == ("w9" if brings_tokenizer else "<eos>")
    assert model.name_or_path == str(tmp_path / "adapter")
    (scores,) = compute_token_scores(model, [[3]], [[4, 5, 6]])
    np.testing.assert_allclose(scores.entropies, expected.entropies, atol=1e-6)
    (plain,) = compute_token_scores(build_model(), [[3]], [[4, 5, 6]])
    assert np.abs(scores.entropies - plain.entropies).max() > 1e-3
    with pytest.raises(ValueError, match="without the adapter"):
        build_sampler(model, tokenizer, SamplingSettings(), use_vllm=True)


@pytest.mark.parametrize("name", ["./no/model", "models/no.gguf", "/no/model", "runs/no/checkpoint"])
def test_a_path_without_a_model_is_not_looked_up_on_the_hub(name):
    with pytest.raises(ValueError, match=f"There is no model at {name}"):
        load_model(name)


@pytest.mark.parametrize("num_tokens", [0, 1, 199, 200, 201, 1000, 1001])
@pytest.mark.parametrize("share", [0.005, 0.2, 1.0])
def test_hes_equals_a_loop(num_tokens, share):
    entropies = np.random.default_rng(num_tokens).random(num_tokens).round(2).astype(np.float32)
    left, total = [float(entropy) for entropy in entropies], 0.0
    for _ in range(math.ceil(round(share * num_tokens, 9))):
        total += left.pop(left.index(max(left)))
    assert compute_hes(entropies, share) == pytest.approx(total, abs=1e-9)


def test_hes_of_no_share_is_refused():
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], but it is 0"):
        compute_hes(np.ones(3), 0)
