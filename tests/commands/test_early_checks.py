"""A wrong flag, value or file is answered before torch is imported, with the words of the config itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trl_forking.commands import early_checks
from trl_forking.commands.early_checks import check_early, check_sizes, parse_early, read_config
from trl_forking.commands.main import main
from trl_forking.commands.math_arguments import make_parser
from trl_forking.commands.recipes import find_examples


ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers.trainer_utils", "datasets", "accelerate", "numpy", "pandas")
GRPO = ["grpo", "--model_name_or_path", "countdown", "--dataset_name", "countdown"]
DOCTOR = ["doctor", *GRPO[1:]]
ANALYZE = ["analyze", "--model_name_or_path", "countdown", "--prompts", "countdown"]
EVALUATE = ["evaluate", "--model_name_or_path", "countdown", "--data", "countdown"]
COMPARE = ["compare", "--base", "countdown", "--prompts", "countdown", "--checkpoints"]
# Of each command a wrong flag, values and files.
MISTAKES = [
    *([*GRPO, flag] for flag in ("--learning_rte=1", "--learning_rate=-1", "--temperature=0", "--max_steps=1.5")),
    *([*GRPO, flag] for flag in ("--loss_type=dpao", "--bf16=maybe", "--optim=adam", "--report_to=wanbd")),
    *([*GRPO, flag] for flag in ("--token_selection=high", "--top_entropy_quantile=20", "--debug=everything")),
    *([*GRPO, flag] for flag in ("--cache_implementation=stat", "--lr_scheduler_type=cosin", "--dtype=float23")),
    *([*GRPO, flag] for flag in ("--output_dir=file", "--output_dir=/proc/run", "--accelerator_config=none.json")),
    *([*GRPO, flag] for flag in ("--resume_from_checkpoint=missing", "--accelerate_config=dpp", "--machine_rank=-1")),
    *([*GRPO, flag] for flag in ("--num_processes=0", "--soft_overlong_cache=9999", "--beta=0.1", "--lora_r=0")),
    *([*GRPO, "--use_cpu", flag] for flag in ("--num_generations=7", "--num_generations=1")),
    *([*GRPO, flag] for flag in ("--lr_scheduler_kwargs=power", "--generation_kwargs={", "--optim_args=rank")),
    *([*GRPO, flag] for flag in ("--torch_compile_backend=indctor", '--accelerator_config={"split_batch": true}')),
    *([*GRPO, flag] for flag in ("--token_rule=no_such_module.rule", "--token_selection=no_such_module.rule")),
    *([*GRPO, flag] for flag in ("--optim=lomo", "--gguf_file=x.gguf", "--reward_weights=1")),
    *([*GRPO, flag] for flag in ("--save_strategy=best", "--load_best_model_at_end", "--fsdp=full_shrad")),
    [*GRPO, "--fp16", "--bf16"],
    [*GRPO, "--use_peft", "--lora_task_type=CAUSAL"],
    [*GRPO, "--use_cpu", "--generation_batch_size", "12"],
    [*GRPO, "--generation_batch_size=8", "--steps_per_generation=2"],
    [*GRPO, "--use_cpu", "--eval_strategy", "steps", "--eval_steps", "1", "--per_device_eval_batch_size", "3"],
    [*GRPO, "--eval_strategy=steps", "--eval_data=aime24"],
    [*GRPO[:3], "--dataset_name", "problems.jsonl"],
    [*GRPO[:1], "--dataset_name", "problem.jsonl", "--model_name_or_path", "some/model"],
    [*GRPO[:1], "--dataset_name", "problems.jsonl", "--model_name_or_path", "./none"],
    *(["grpo", "--config", name] for name in ("none.yaml", "wrong.yaml", "unknown.yaml", "type.yaml", "open.yaml")),
    ["grpo"],
    *([*DOCTOR, flag] for flag in ("--prob=1", "--probe=-1", "--gpu=h300", "--learning_rate=nan")),
    ["doctor", "--config", "wrong.yaml"],
    *([*ANALYZE, flag] for flag in ("--temperatur=1", "--temperature=0", "--token_selection=high", "--dtype=float23")),
    *([*ANALYZE, flag] for flag in ("--output_dir=file", "--config=none.yaml", "--verifier=math", "--top_p=2")),
    [*ANALYZE[:3], "--prompts", "problem.jsonl"],
    [*ANALYZE[:3], "--prompts", "empty.jsonl"],
    ["analyze", "--model_name_or_path", "./none", "--prompts", "problems.jsonl"],
    *([*ANALYZE, flag] for flag in ("--token_selection=no_such_module.rule", "--device=CUDA", "--device=cuda 0")),
    *([*EVALUATE, flag] for flag in ("--seeed=1", "--temperature=-1", "--baseline=none", "--output_dir=file")),
    [*EVALUATE[:4], "problem.jsonl"],
    ["evaluate", "--model_name_or_path", "some/model", "--data", "aime2024"],
    ["evaluate", "--model_name_or_path", "some/model", "--data", "problem.jsonl"],
    *([*COMPARE, "./none", flag] for flag in ("--checkpoint=1", "--num_prompts=0", "--batch_size=1")),
    *(["compare-runs", *flags] for flags in (["none", "neither"], ["--rnus=a"], ["none"])),
    *([name, *flags] for name in ("card", "verdict") for flags in (["none"], ["empty"], ["--foldr=x"], [])),
    *(["demo", flag] for flag in ("--max_step=1", "--max_steps=0", "--learning_rate=nan", "--token_selection=high")),
    *(["demo", flag] for flag in ("--output_dir=file", "--top_entropy_quantile=20", "--resume", "--compare=none")),
    *(["verify", *flags] for flags in (["1"], ["--fil=x"], ["--file=none.jsonl"], ["--file=empty.jsonl"])),
    *(["rules", flag] for flag in ("gradient_nrom", "--jsn")),
    ["gropo"],
]
FILES = {
    "file": "",
    "empty.jsonl": "",
    "problems.jsonl": '{"question": "1 + 1?", "answer": "2"}\n',
    "wrong.yaml": "model_name_or_path: countdown\ndataset_name: countdown\nlearning_rate: -1\n",
    "unknown.yaml": "model_name_or_path: countdown\nlearning_rte: 1\n",
    "type.yaml": "model_name_or_path: countdown\nmax_steps: many\n",
    "open.yaml": "a: [1, 2\n",
}
RUN = f"""
import json, sys
from trl_forking.commands.main import main

for arguments in json.loads(sys.argv[1]):
    code = None
    try:
        main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    print(json.dumps([arguments, code, heavy]), file=sys.stderr)
    if heavy:
        break
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "empty").mkdir()
    return tmp_path


def run_all(arguments: list[list[str]], folder: Path) -> list[list]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(arguments)],
        capture_output=True, text=True, env=environment, cwd=folder, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[[")]


def test_a_mistake_is_answered_before_torch_is_imported(folder):
    results = run_all(MISTAKES, folder)
    assert not [result for result in results if result[1:] != [2, []]]
    assert len(results) == len(MISTAKES)


def test_a_word_whose_list_the_source_does_not_say_is_answered_early_too(folder):
    assert run_all([[*GRPO, "--log_level=loud"]], folder)[0][1:] == [2, []]


def test_the_short_help_needs_no_torch_either_and_is_that_of_the_config(folder, monkeypatch, capsys):
    commands = ["grpo", "doctor"]
    assert [result[1:] for result in run_all([[name, "--help"] for name in commands], folder)] == [[0, []]] * 2
    for name in commands:
        texts = []
        for read in (read_config, lambda: None):
            monkeypatch.setattr(early_checks, "read_config", read)
            with pytest.raises(SystemExit):
                main([name, "--help"])
            texts.append(capsys.readouterr().out)
        assert texts[0] == texts[1] and "usage: trl-forking" in texts[0]


@pytest.mark.parametrize("name", ["env", "rules"])
def test_the_help_without_a_parser_has_the_width_of_the_terminal_too(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40


def test_an_early_import_would_be_seen(folder):
    (_, code, heavy), *rest = run_all([[*ANALYZE, "--token_selection=json.rule"], *MISTAKES], folder)
    assert code == 2 and "torch" in heavy and not rest


@pytest.fixture
def answer(folder, capfd):
    """Run a command line, and return its exit code and what it printed about a mistake."""

    def run(arguments: list[str]) -> tuple[object, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        lines = capfd.readouterr().err.splitlines()
        return stopped.value.code, next(line for line in lines if line.startswith("error"))

    return run


@pytest.mark.slow
def test_the_config_itself_would_say_the_same(answer, monkeypatch):
    mistakes = [arguments for arguments in MISTAKES if arguments[0] in ("grpo", "doctor")]
    early = [answer(arguments) for arguments in mistakes]
    monkeypatch.setattr(early_checks, "read_config", lambda: None)
    for arguments, said in zip(mistakes, early, strict=True):
        assert said == answer(arguments), arguments


@pytest.mark.parametrize("path", sorted((find_examples() / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_passes(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trl_forking.run.user_errors.find_spec", lambda name: "there")
    early = parse_early(["--config", str(path)], make_parser)
    assert early is not None
    check_early(early)
    check_sizes(early, early.script.num_processes or 1)


def test_without_a_source_and_with_a_value_that_it_does_not_say_the_config_decides(monkeypatch):
    assert parse_early(["--log_level", "info"], make_parser) is None
    assert parse_early(["--log_level", "passive"], make_parser) is not None  # the default
    monkeypatch.setattr(early_checks, "read_config", lambda: None)
    assert parse_early(["--learning_rate=-1"], make_parser) is None


def test_a_rule_of_the_users_own_is_not_imported_early():
    settings = read_config()("runs/x", token_selection="no_such_module.rule", token_rule="no_such_module.rule")
    assert settings.token_rule == "no_such_module.rule"


@pytest.mark.skipif(
    torch.version.cuda is not None or sys.platform == "darwin", reason="this PyTorch knows accelerators"
)
def test_a_pytorch_for_the_cpu_has_no_other_device(folder):
    mistakes = [
        [*command, f"--device={device}"] for command in (ANALYZE, EVALUATE) for device in ("cuda", "xpu:1", "gpu")
    ]
    assert [result[1:] for result in run_all(mistakes, folder)] == [[2, []]] * len(mistakes)


def test_the_name_of_a_file_is_blamed_on_the_line_where_it_stands(answer, folder):
    (folder / "model.yaml").write_text("num_prompts: 3\nmodel_name_or_path: ./none\nprompts: countdown\n")
    (folder / "prompts.yaml").write_text("model_name_or_path: countdown\nprompts: ./problem.jsonl\n")
    for name, flags, place in (
        ("model.yaml", [], "model.yaml:2: There is no model at ./none"),
        ("prompts.yaml", [], "prompts.yaml:2: There is no file ./problem.jsonl"),
        ("model.yaml", ["--model_name_or_path=./nil"], "command line: There is no model at ./nil"),
    ):
        assert answer(["analyze", "--config", name, *flags])[1].startswith(f"error: {place}")
