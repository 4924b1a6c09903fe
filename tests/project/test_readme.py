"""The README's first example runs, its commands are tested, its links exist, its table of settings is complete."""

import re
from pathlib import Path

import datasets
import pytest

from helpers.tiny import build_dataset, build_model, build_tokenizer
from trl_forking import ForkingGRPOConfig


ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_first_example_trains(tmp_path, monkeypatch):
    """As printed, but for a model and a dataset from a folder, one step, and the CPU."""
    model_dir = tmp_path / "model"
    build_model().save_pretrained(model_dir)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(model_dir)
    prompts = [[{"role": "user", "content": prompt}] for prompt in build_dataset()["prompt"]]
    dataset = datasets.Dataset.from_dict({"prompt": prompts, "solution": ["$1$"] * 16})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: dataset)
    monkeypatch.chdir(tmp_path)
    code = find_blocks("python")[0]
    assert README.index(code) < 1500, "the first example must stand on the first screen"
    for shown, run in (
        ('"Qwen/Qwen3-0.6B"', repr(str(model_dir))),
        ('"runs/forking"', '"runs/forking", max_steps=1, max_completion_length=8, use_cpu=True, report_to="none"'),
    ):
        assert shown in code
        code = code.replace(shown, run)
    namespace: dict = {}
    exec(compile(code, "README.md", "exec"), namespace)
    assert namespace["trainer"].state.global_step == 1


def test_every_command_is_run_somewhere():
    """By a test of this suite or by a workflow; a new command in the README needs a line here."""
    run_by = {
        "make demo": "tests/commands/test_demo.py",
        "make test": ".ci/run",
        "make quality": ".github/workflows/quality.yml",
        "pip install": "tests/project/test_packaging.py",
        "python examples/train_math.py": "tests/commands/test_train_math.py",
        "accelerate launch --config_file": "tests/project/test_recipes.py",
        "trl-forking grpo": "tests/commands/test_grpo.py",
        "trl-forking analyze": "tests/commands/test_analyze.py",
    }
    commands = [line.split("#")[0].strip() for block in find_blocks("bash") for line in block.splitlines()]
    for command in filter(None, commands):
        runner = next((file for start, file in run_by.items() if command.startswith(start)), None)
        assert runner, f"no test runs the README's command {command!r}"
        assert (ROOT / runner).exists()


@pytest.mark.parametrize("page", ["README.md", *[f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")]])
def test_local_links_exist(page):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


def test_named_tests_exist():
    pages = README + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    for file, name in re.findall(r"`(tests/test_\w+\.py)(?:::(\w+))?`", pages):
        assert (ROOT / file).exists(), file
        assert not name or f"def {name}(" in (ROOT / file).read_text(), name


def test_table_of_settings_is_complete():
    ours = set(ForkingGRPOConfig.__annotations__) - {"loss_type", "epsilon_high"}
    table = README.split("## What the settings mean")[1].split("Everything else")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == ours


def test_metrics_page_names_every_metric():
    from trl_forking.selection.metrics import PERCENTILES

    page = (ROOT / "docs" / "metrics.md").read_text()
    names = ["threshold", "kept_fraction", "counted_fraction", "entropy_share", "clip_fraction"]
    names += ["sampling_rounds", "zero_variance_groups", "informative_groups", "prompts_consumed", "sampled_reward"]
    names += ["selected_entropy_mean", "dropped_entropy_mean", *(f"_p{p}" for p in PERCENTILES)]
    assert all(f"{name}`" in page for name in names)
