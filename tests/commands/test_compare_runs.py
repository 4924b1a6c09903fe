"""`trl-forking compare-runs` from folders to files: two tiny real runs with their evaluations, and mistakes."""

import json

import pytest

from helpers.compared import write_run
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.commands.compare_runs import run_compare_runs
from trl_forking.commands.evaluate import run_evaluate
from trl_forking.commands.main import main
from trl_forking.countdown import (
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)


def train(folder, **settings):
    args = ForkingGRPOConfig(
        str(folder), max_steps=2, max_completion_length=52, per_device_train_batch_size=8, gradient_accumulation_steps=1,
        num_generations=4, learning_rate=1e-3, logging_steps=1, save_strategy="no", use_cpu=True, bf16=False,
        report_to="none", disable_tqdm=True, **settings,
    )  # fmt: skip
    trainer = ForkingGRPOTrainer(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=args,
        train_dataset=make_countdown_dataset("train", num_problems=16, seed=0),
        processing_class=load_countdown_tokenizer(),
    )
    trainer.train()
    trainer.save_model()


def evaluate(folder, output):
    flags = ["--data", "countdown", "--num_problems", "8", "--num_generations", "2", "--output_dir", str(output)]
    run_evaluate(["--model_name_or_path", str(folder), *flags])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of two steps: one has its evaluation in its folder, the other beside it."""
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "forking")
    train(folder / "grpo", top_entropy_quantile=1.0)
    evaluate(folder / "forking", folder / "forking" / "evaluation")
    evaluate(folder / "grpo", folder / "evaluation_of_grpo")
    return folder


@pytest.mark.slow
def test_two_real_runs(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["compare-runs", str(runs / "evaluation_of_grpo"), str(runs / "forking")])
    output = " ".join(capsys.readouterr().out.split())
    assert "avg@2" in output and "Equal steps are not equal compute: evaluation_of_grpo generated" in output
    assert "top_entropy_quantile 1.0 0.2" in output and "Plot: runs/run_comparison/comparison.png" in output
    folder = tmp_path / "runs" / "run_comparison"
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((folder / "comparison.json").read_text())
    figure = content["comparisons"][0]["sets"][0]["figures"]["avg@2"]
    means = [
        json.loads((path / "evaluation.json").read_text())["sets"][0]["figures"]["avg@2"]["mean"]
        for path in (runs / "evaluation_of_grpo", runs / "forking" / "evaluation")
    ]
    assert [figure["first"], figure["second"]] == pytest.approx(means)
    assert figure["difference"] == pytest.approx(means[1] - means[0]) and figure["num_problems"] == 8
    assert [row["name"] for row in content["settings"]] == ["top_entropy_quantile"]
    assert len(content["curves"]) == 2 and content["curves"][0]["steps"] == [1, 2]
    assert content["curves"][0]["tokens"][1] > content["curves"][0]["tokens"][0] > 8 * 4
    report = (folder / "comparison.md").read_text()
    assert "| avg@2 |" in report and "](comparison.png)" in report


def test_seeds_and_three_groups(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2, 3):
        for name, shift in (("a", 0.0), ("b", 0.2), ("c", 0.001)):
            values = [(i * seed % 5) / 5 + shift for i in range(10)]
            write_run(tmp_path / f"{name}-{seed}", values, seed, {"beta": shift})
    run_compare_runs(["a=a-*", "b-*", "c-*", "--output_dir", "out"])
    output = " ".join(capsys.readouterr().out.split())
    assert "b-* has avg@4 60.0 %, and a has 40.0 %. The difference of +20.0 points" in output
    assert "3 pairs of runs (seed 1, seed 2, seed 3)" in output
    figures = [
        each["sets"][0]["figures"]["avg@4"]
        for each in json.loads((tmp_path / "out" / "comparison.json").read_text())["comparisons"]
    ]
    assert [round(figure["difference"], 6) for figure in figures] == [0.2, 0.001]
    assert (tmp_path / "out" / "comparison.png").is_file()


def test_without_a_difference_it_says_noise_and_what_is_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a", [(i * 7 % 11) / 11 for i in range(22)])
    write_run(tmp_path / "b", [(i * 5 % 11) / 11 + 0.03 for i in range(22)])
    run_compare_runs(["a", "b"])
    output = " ".join(capsys.readouterr().out.split())
    assert "not distinguishable from noise. To see a difference of this size, about" in output
    assert "in 80 % of all cases" in output and "No recorded setting differs" in output


def test_names_with_marks_are_shown_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "[red]a|b$", [0.2] * 8, record=False)
    write_run(tmp_path / "_x_", [0.2] * 8, record=False)
    run_compare_runs(["[red]a|b$", "_x_"])
    assert "[red]a|b$" in capsys.readouterr().out
    report = (tmp_path / "runs" / "run_comparison" / "comparison.md").read_text()
    assert "a&#124;b" in report and "| a|b" not in report


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "needs two runs or groups"),
        (["a"], "needs two runs or groups"),
        (["a", "gone"], "gone: there is no such folder"),
        (["a", "a"], "is given twice"),
        (["a", "other"], "temperature differs (1.0 and 0.5)"),
        (["a", "b", "--outputdir", "x"], "unknown flag --outputdir"),
        (["a", "unfinished"], "unfinished has no finished evaluation: run trl-forking evaluate"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a", [0.2] * 8)
    write_run(tmp_path / "b", [0.2] * 8)
    write_run(tmp_path / "other", [0.2] * 8, temperature=0.5)
    (tmp_path / "unfinished" / "evaluation" / "countdown").mkdir(parents=True)
    with pytest.raises(SystemExit) as exit_:
        run_compare_runs(flags)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "runs").exists()
