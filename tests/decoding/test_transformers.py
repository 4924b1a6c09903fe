"""Decoding with two temperatures in Transformers."""

import json
import math
import runpy
from pathlib import Path

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from helpers import reference
from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer, make_countdown_dataset
from trl_forking.decoding import ForkTemperature, apply_fork_temperature, compute_entropies


NAN, INFINITY = math.nan, math.inf


def draw_logits(seed: int, rows: int = 12, words: int = 17) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, words, generator=generator)
    return logits.masked_fill(torch.rand(rows, words, generator=generator) < 0.2, -INFINITY)


def expected_logits(rows: list[list[float]], threshold: float, fork: float, other: float) -> list[list[float]]:
    return [[z / (fork if reference.entropy(row) >= threshold else other) for z in row] for row in rows]


@pytest.mark.parametrize("seed", range(5))
def test_entropies_and_logits_equal_a_loop_in_float64(seed):
    logits = draw_logits(seed)
    rows = logits.double().tolist()
    expected = [reference.entropy(row) for row in rows]
    assert compute_entropies(logits).squeeze(1).tolist() == pytest.approx(expected, abs=1e-6)
    threshold = sum(sorted(expected)[5:7]) / 2  # in the middle, and at none of them
    result = apply_fork_temperature(logits, threshold, 1.7, 0.6).tolist()
    for row, wanted in zip(result, expected_logits(rows, threshold, 1.7, 0.6), strict=True):
        assert row == pytest.approx(wanted, rel=1e-6)


def test_the_entropy_is_that_before_either_temperature():
    logits = torch.tensor([[2.0, 0.0]])  # 0.37 nats; at temperature 4 it would be 0.66, at a quarter 0.003
    for fork, other in ((4.0, 0.25), (0.25, 4.0)):
        assert torch.equal(apply_fork_temperature(logits, 0.5, fork, other), logits / other)
        assert torch.equal(apply_fork_temperature(logits, 0.3, fork, other), logits / fork)


def test_a_row_at_the_threshold_is_a_fork():
    logits = torch.zeros(1, 4)
    threshold = compute_entropies(logits).item()  # log 4
    assert threshold == pytest.approx(math.log(4))
    logits[0] += 1
    assert apply_fork_temperature(logits, threshold, 2.0, 4.0)[0, 0] == 0.5
    assert apply_fork_temperature(logits, math.nextafter(threshold, 9) + 1e-6, 2.0, 4.0)[0, 0] == 0.25


@pytest.mark.parametrize(("threshold", "temperature"), [(0.0, 2.0), (INFINITY, 4.0)])
def test_every_token_is_a_fork_or_none(threshold, temperature):
    logits = draw_logits(0)
    assert torch.equal(apply_fork_temperature(logits, threshold, 2.0, 4.0), logits / temperature)


def test_rows_do_not_know_of_one_another():
    logits = draw_logits(0)
    together = apply_fork_temperature(logits, 1.0, 1.7, 0.6)
    alone = torch.cat([apply_fork_temperature(row, 1.0, 1.7, 0.6) for row in logits.split(1)])
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))
    assert torch.equal(together, alone)
    assert torch.equal(apply_fork_temperature(logits[order], 1.0, 1.7, 0.6), together[order])


def test_impossible_words_stay_impossible_and_the_given_logits_as_they_are():
    logits = torch.tensor([[0.0, -INFINITY, -INFINITY], [0.0, 0.0, -INFINITY]])
    before = logits.clone()
    result = apply_fork_temperature(logits, 0.5, 5.0, 0.1)
    assert compute_entropies(logits).squeeze(1).tolist() == pytest.approx([0.0, math.log(2)])
    assert torch.equal(result.isneginf(), logits.isneginf()) and not result.isnan().any()
    assert torch.equal(logits, before)


def test_half_precision_is_scored_in_fp32():
    logits = draw_logits(0).bfloat16()
    assert torch.equal(compute_entropies(logits), compute_entropies(logits.float()))


@pytest.mark.parametrize("value", [NAN, -0.1, "0.5", None, True])
def test_a_threshold_that_cannot_be_meant_is_refused(value):
    with pytest.raises(ValueError, match=f"^threshold must be an entropy in nats, 0 or more, but it is {value!r}.$"):
        ForkTemperature(value, 1.0, 1.0)


@pytest.mark.parametrize("name", ["fork_temperature", "other_temperature"])
@pytest.mark.parametrize("value", [0, 0.0, -1.0, NAN, INFINITY, "1", None, True])
def test_a_temperature_that_cannot_be_meant_is_refused(name, value):
    settings = {"threshold": 0.5, "fork_temperature": 1.0, "other_temperature": 1.0, name: value}
    with pytest.raises(ValueError, match=f"^{name} must be a positive number, but it is {value!r}:"):
        ForkTemperature(**settings)
    with pytest.raises(ValueError, match=f"^{name} must be"):
        apply_fork_temperature(torch.zeros(1, 2), **settings)


# In `generate`


class Recorder(LogitsProcessor):
    """Keeps what it is shown, and hands it on."""

    def __init__(self):
        self.scores = []

    def __call__(self, input_ids, scores):
        self.scores.append(scores.clone())
        return scores


@pytest.fixture
def model(countdown_model):
    return countdown_model


@pytest.fixture(scope="module")
def prompts(countdown_tokenizer):
    rows = make_countdown_dataset("eval", num_problems=64, seed=0)
    return countdown_tokenizer(list(rows["prompt"]), return_tensors="pt", padding=True)


def generate(model, prompts, *processors, seed=0, **settings):
    torch.manual_seed(seed)
    plain = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 20}
    return model.generate(**prompts, logits_processor=LogitsProcessorList(processors), **plain | settings)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 9.0])
def test_equal_temperatures_sample_as_plain_sampling_does(model, prompts, temperature, threshold):
    plain = generate(model, prompts, temperature=temperature)
    ours = generate(model, prompts, ForkTemperature(threshold, temperature, temperature))
    assert torch.equal(ours, plain)
    assert not torch.equal(generate(model, prompts, temperature=temperature, seed=1), plain)  # the seed decides


def test_each_token_is_sampled_at_the_temperature_of_its_kind(model, prompts):
    before, after = Recorder(), Recorder()
    generate(model, prompts, before, ForkTemperature(0.6, 1.5, 0.5), after)
    kinds = []
    for raw, scaled in zip(before.scores, after.scores, strict=True):
        forks = compute_entropies(raw) >= 0.6
        assert torch.equal(scaled, torch.where(forks, raw / 1.5, raw / 0.5))
        kinds += forks.flatten().tolist()
    assert {True, False} == set(kinds)


@pytest.mark.parametrize("settings", [{"top_k": 3}, {"top_p": 0.8}, {"min_p": 0.2}])
def test_cuts_and_the_plain_temperature_come_after_it(model, prompts, settings):
    """Forks are told by the full distribution, and what is cut off by the one with the temperature."""
    scored = generate(
        model,
        prompts,
        raw := Recorder(),
        ForkTemperature(0.6, 2.0, 1.0),
        temperature=1.5,
        max_new_tokens=1,
        output_scores=True,
        return_dict_in_generate=True,
        **settings,
    )
    expected = apply_fork_temperature(raw.scores[0], 0.6, 2.0, 1.0) / 1.5
    kept = scored.scores[0].isfinite()
    assert torch.equal(scored.scores[0][kept], expected[kept])
    assert 1 < kept.sum(1).float().mean() < expected.size(1) / 2
    if "top_p" in settings:  # the smallest set of words that holds 0.8 of the probability at the temperature
        for row, is_kept in zip(expected.softmax(1), kept, strict=True):
            ranked = row.sort(descending=True).values.cumsum(0)
            assert int(is_kept.sum()) == int((ranked < 0.8).sum()) + 1


def test_greedy_decoding_is_not_changed(model, prompts):
    greedy = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    ours = generate(model, prompts, ForkTemperature(0.6, 2.0, 0.5), **greedy)
    assert torch.equal(ours, generate(model, prompts, **greedy))


# The sweep


@pytest.fixture(scope="module")
def sweep():
    return runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "sweep_temperatures.py"))


@pytest.fixture(scope="module")
def tiny_sweep(sweep, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    flags = f"--num_problems 16 --num_answers 2 --batch_size 10 --temperatures 0.5 5 --output_dir {folder}"
    return sweep["main"](flags.split()), folder


@pytest.mark.slow
def test_the_sweep_measures_and_writes_every_pair(tiny_sweep):
    (result,), folder = tiny_sweep
    accuracy = {(cell.fork_temperature, cell.other_temperature): cell.accuracy for cell in result.cells}
    assert set(accuracy) == {(fork, other) for fork in (0.5, 1.0, 5.0) for other in (0.5, 1.0, 5.0)}
    assert accuracy[1.0, 1.0] > 0.1 and accuracy[1.0, 5.0] == 0.0  # a wrong word in nearly every answer
    assert 0.2 < result.threshold < 1.5
    written = json.loads((folder / "two_temperatures.json").read_text())
    assert written["sweeps"][0]["cells"][0]["accuracy"] == accuracy[1.0, 1.0]
    assert len((folder / "two_temperatures.csv").read_text().splitlines()) == 10
    assert (folder / "two_temperatures.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_errors_of_the_sweep_are_over_problems(tiny_sweep, sweep):
    (result,), _ = tiny_sweep
    first = result.cells[0]
    assert (first.fork_temperature, first.other_temperature) == (1.0, 1.0)
    assert (first.difference, first.difference_standard_error) == (0.0, 0.0)
    for cell in result.cells:
        assert cell.difference == pytest.approx(cell.accuracy - first.accuracy)
    # 0.5 and 1 of the answers to two problems: 0.75 with a standard error of 0.25
    assert sweep["compute_standard_error"]([0.5, 1.0]) == pytest.approx(0.25)


def test_the_threshold_is_the_80th_percentile_at_temperature_one(sweep):
    args = sweep["parse_arguments"](["--num_problems", "8"])
    task = sweep["load_task"]("countdown", args)
    entropies = []
    for prompt, answers in zip(task.prompts, sweep["draw_answers"](task, args), strict=True):
        prompt_ids = task.tokenizer(prompt)["input_ids"]
        for ids in answers:
            with torch.no_grad():
                logits = task.model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 : -1]
            entropies += [reference.entropy(row) for row in logits.tolist()]
    expected = torch.tensor(entropies).quantile(0.8).item()
    assert sweep["estimate_threshold"](task, args) == pytest.approx(expected, abs=1e-4)


def test_the_paper_varies_one_temperature_at_a_time(sweep):
    pairs = sweep["list_pairs"]([0.5, 2.0], "paper")
    assert sorted(pairs) == [(0.5, 1.0), (1.0, 0.5), (1.0, 1.0), (1.0, 2.0), (2.0, 1.0)]
    assert pairs[0] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--temperatures 0", "fork_temperature must be a positive number, but it is 0.0"),
        ("--threshold -1", "threshold must be an entropy in nats"),
        ("--num_problems 1", "--num_problems must be 2 or more, but it is 1."),
        ("--problems rows.jsonl", "--problems: the built-in model knows the built-in task only"),
    ],
)
def test_the_sweep_refuses_what_means_nothing(sweep, flags, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        sweep["main"](flags.split())
    assert message in capsys.readouterr().err


def test_the_sweep_reads_problems_from_a_file(sweep, tmp_path):
    """The built-in model stands in for a real one: its answers have no box, so all of them are wrong."""
    pytest.importorskip("math_verify")
    problems, folder = tmp_path / "problems.jsonl", tmp_path / "model"
    problems.write_text("".join(json.dumps({"question": f"{n} + 1", "answer": n + 1}) + "\n" for n in range(3)))
    load_countdown_model().save_pretrained(folder)
    tokenizer = load_countdown_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}nums 3 5 2 goal 16 :{% endfor %}"
    tokenizer.save_pretrained(folder)
    flags = f"--model {folder} --problems {problems} --temperatures 1 --max_new_tokens 3 --output_dir {tmp_path}"
    (result,) = sweep["main"](flags.split())
    assert [cell.accuracy for cell in result.cells] == [0.0]
