"""metrics.jsonl has a line for each logged step, also over a resume, and nothing of another run is lost."""

import json

from helpers.tiny import build_trainer


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def build(folder, **settings):
    settings = {"save_strategy": "steps", "save_steps": 1, "overwrite_output_dir": True} | settings
    return build_trainer(folder, **settings)


def test_each_logged_step_has_a_line_also_over_a_resume(tmp_path):
    path = tmp_path / "metrics.jsonl"
    build(tmp_path, max_steps=2).train()
    lines = read(path)
    assert [line["step"] for line in lines] == [1, 2, 2]  # the last one has the run time
    assert {"reward", "loss", "forking/threshold", "forking/repeated_answers"} <= set(lines[0])
    with path.open("a") as file:  # steps after the checkpoint, and a line that was cut off
        file.write('{"step": 3, "reward": 9.0}\n{"step": 4, "rew')
    build(tmp_path, max_steps=3).train(resume_from_checkpoint=True)
    assert [line["step"] for line in read(path)] == [1, 2, 2, 3, 3]
    assert all(line.get("reward") != 9.0 for line in read(path))


def test_the_metrics_of_another_run_stay(tmp_path):
    build(tmp_path, max_steps=1).train()
    before = (tmp_path / "metrics.jsonl").read_text()
    for name in ("_earlier_metrics.jsonl", "_earlier_metrics_2.jsonl"):
        build(tmp_path, max_steps=1).train()
        assert (tmp_path / name).is_file()
    assert (tmp_path / "_earlier_metrics.jsonl").read_text() == before
