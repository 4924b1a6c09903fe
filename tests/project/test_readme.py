"""The README's first example and its commands run, its links exist, its numbers are generated, and it is short."""

import dataclasses
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import datasets
import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from helpers.tiny import build_dataset
from trl_forking import ForkingGRPOConfig
from trl_forking.commands.main import main


ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def find_blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def test_first_example_trains(tiny_model_folder, tmp_path, monkeypatch):
    """As printed, but for a model and a dataset from a folder, one step, and the CPU."""
    prompts = [[{"role": "user", "content": prompt}] for prompt in build_dataset()["prompt"]]
    dataset = datasets.Dataset.from_dict({"prompt": prompts, "solution": ["$1$"] * 16})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: dataset)
    monkeypatch.chdir(tmp_path)
    code = find_blocks("python")[0]
    assert README.index(code) < 1500, "the first example must stand on the first screen"
    for shown, run in (
        ('"Qwen/Qwen3-0.6B"', repr(str(tiny_model_folder))),
        ('"runs/forking"', '"runs/forking", max_steps=1, max_completion_length=8, use_cpu=True, report_to="none"'),
    ):
        assert shown in code
        code = code.replace(shown, run)
    namespace: dict = {}
    exec(compile(code, "README.md", "exec"), namespace)
    assert namespace["trainer"].state.global_step == 1


def read_commands() -> list[str]:
    """Read the commands of the README, and those of CONTRIBUTING that it has not."""
    blocks = [*find_blocks("bash"), *find_blocks("bash", (ROOT / "CONTRIBUTING.md").read_text())]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [*dict.fromkeys(line for line in lines if line)]


@pytest.fixture
def run(tiny_model_folder, tmp_path, monkeypatch):
    """Run a command as it is printed; what trains or answers gets flags after its own that make it short."""
    monkeypatch.chdir(ROOT)
    output = ["--output_dir", str(tmp_path / "out")]

    def run_command(command: str) -> None:
        match shlex.split(command):
            case ["make", target, *variables]:
                command = ["make", "--dry-run", "--always-make", target, *variables]
                subprocess.run(command, capture_output=True, check=True)
                assert target == "demo" or re.search(rf"make {target}$", read_ci(), flags=re.MULTILINE)
            case ["git", "clone", url, "&&", "cd", folder]:
                assert url in (ROOT / "pyproject.toml").read_text() and url.endswith(f"/{folder}")
            case ["pip", "install", requirement]:
                pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-build-isolation"]
                done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=True)
                assert "does not provide the extra" not in done.stderr
            case ["trl-forking", "grpo", *flags]:
                main(["grpo", *flags, *output, *([] if "--dry_run" in flags else ["--max_steps", "1"])])
            case ["trl-forking", "analyze", *flags]:
                main(["analyze", *flags, *output, "--num_prompts", "2", "--num_generations", "2"])
            case ["trl-forking", "doctor", "--config", "my.yaml", *flags]:
                main(["doctor", "--config", "cpu_smoke", *flags, *output, "--probe", "2"])
            case ["trl-forking", "verdict", "runs/mine"]:
                (tmp_path / "trainer_state.json").write_text('{"log_history": [{"reward": 0.5, "step": 1}]}')
                main(["verdict", str(tmp_path)])
            case ["python", script, *flags]:
                module = runpy.run_path(script)
                settings = {"model_name_or_path": tiny_model_folder, "dataset_name": write_problems(tmp_path)}
                module["main"]([*flags, *output, *make_flags(settings | ONE_STEP)])
            case ["accelerate", "launch", *flags]:
                args, _, _ = _validate_launch_command(launch_command_parser().parse_args(flags))
                assert args.use_deepspeed and Path(args.training_script).is_file()
                assert args.training_script_args == ["--config", "my.yaml"]
            case _:
                pytest.fail(f"no test runs the README's command {command!r}: add a case here")

    return run_command


ONE_STEP = {
    "max_steps": 1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "num_generations": 4,
    "max_completion_length": 8,
    "soft_overlong_cache": 4,
    "use_cpu": True,
    "bf16": False,
}


def make_flags(settings: dict) -> list[str]:
    return [str(part) for name, value in settings.items() for part in (f"--{name}", value)]


def write_problems(folder: Path) -> Path:
    path = folder / "problems.jsonl"
    path.write_text("".join(f'{{"question": "w{n}", "answer": "1"}}\n' for n in range(3, 8)))
    return path


def read_ci() -> str:
    files = [ROOT / ".ci" / "run", *(ROOT / ".github" / "workflows").glob("*.yml")]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize("command", read_commands())
def test_every_command_runs(run, command):
    run(command)


@pytest.mark.parametrize(
    ("part", "wrong", "error"),
    [
        ("make demo", "make demos", subprocess.CalledProcessError),
        ("make quality", "make clean", AssertionError),  # a target that neither a test nor a workflow runs
        (".[math]", ".[maths]", AssertionError),
        ("git clone https://github.com/trl-forking", "git clone https://github.com/trl-forkin", AssertionError),
        ("grpo --config cpu_smoke", "grpo --config cpu_smok", SystemExit),
        ("grpo --config cpu_smoke", "grpo --config cpu_smoke --dryrun", SystemExit),
        ("trl-forking analyze", "trl-forking analyse", pytest.fail.Exception),
        ("analyze --model_name_or_path", "analyze --model", SystemExit),
        ("python examples/train_math.py", "python examples/train.py", FileNotFoundError),
        ("accelerate_configs/zero3.yaml", "accelerate_configs/zero4.yaml", FileNotFoundError),
        ("examples/train_math.py --config my.yaml", "examples/train_math.py my.yaml", AssertionError),
    ],
)
def test_a_wrong_command_is_found(run, part, wrong, error):
    command = next(command for command in read_commands() if part in command)
    with pytest.raises(error):
        run(command.replace(part, wrong))


def find_numbers(page: str) -> set[str]:
    """Find the numbers of the sentences: not those of generated parts, of code, of addresses and of names such as H200."""
    page = re.sub(r"<!-- (results|gpu): .*?<!-- end of \1 -->", "", page, flags=re.DOTALL)
    page = re.sub(r"^```.*?^```$|`[^`\n]+`|\]\([^)]*\)", "", page, flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"(?<![\w.-])\d+(?:[.,/]\d+)*", page))


def test_every_number_is_generated_or_is_a_setting_or_a_version():
    """What was measured stands between the marks that `make results` and `benchmarks/gpu/write_page.py` write between."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [project["requires-python"], *(line for line in project["dependencies"] if line.startswith("tr"))]
    versions = {re.search(r">=([\d.]+)", line)[1] for line in needed}
    newest_trl = re.search(r"^trl==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)[1]
    share = {field.name: field.default for field in dataclasses.fields(ForkingGRPOConfig)}["top_entropy_quantile"]
    allowed = {f"{share:.0%}"[:-1], f"{1 - share:.0%}"[:-1], "80/20", newest_trl} | versions
    assert find_numbers(README) <= allowed and len(versions) == 3
    assert find_numbers(README + "\nGradients differ by up to 43 %.\n") - allowed == {"43"}


@pytest.mark.parametrize("page", ["README.md", *[f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")]])
def test_local_links_exist(page):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


def test_named_tests_exist():
    pages = README + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", pages)
    assert len(named) > 5
    for file, name in named:
        assert (ROOT / file).exists(), file
        assert not name or f"def {name}(" in (ROOT / file).read_text(), name
