"""Data of the commands: names that do not exist, prompts that are too long, and a whole run on problems with prose."""

import csv
import gzip
import io
import json
import time

import pandas
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from helpers.tiny import build_model
from trl_forking.commands.main import main
from trl_forking.commands.math_arguments import make_parser
from trl_forking.commands.math_loading import read_context_length
from trl_forking.commands.train_math import build_trainer, read_run
from trl_forking.commands.train_math import main as train


def write_rows(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def build_flags(model, data, output_dir, **settings):
    settings = {
        "model_name_or_path": model,
        "dataset_name": data,
        "output_dir": output_dir,
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": 1,
        "max_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
    } | settings
    return [str(part) for flag, value in settings.items() for part in (f"--{flag}", value)]


def fail(capsys, run, flags):
    """Run a command that has to end with one sentence."""
    with pytest.raises(SystemExit) as stopped:
        run(flags)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith("error: ") and len(error.splitlines()) == 2
    return error.splitlines()[0]


# Names


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("d.csv", "d.jsonl"), ("probs.jsonl.gz", "probs.jsonl"), ("../tinny", "../tiny"), ("./x.parquet", None)],
)
@pytest.mark.parametrize("command", ["train", "grpo", "analyze"])
def test_a_missing_file_is_one_sentence_before_anything_is_loaded(
    command, name, nearest, tmp_path, capsys, monkeypatch
):
    for path in ("tiny/a.jsonl", "work/d.jsonl", "work/probs.jsonl"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("{}")
    monkeypatch.chdir(tmp_path / "work")

    def load(*args, **kwargs):
        raise AssertionError("a model was looked for")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", load)
    monkeypatch.setattr("trl_forking.commands.answers.load_model", load)
    if command == "analyze":
        flags = ["analyze", "--model_name_or_path", "no/model", "--prompts", name]
    else:
        flags = ["grpo"] * (command == "grpo") + build_flags("no/model", name, "out")
    start = time.monotonic()
    error = fail(capsys, train if command == "train" else main, flags)
    assert time.monotonic() - start < 20  # the import of the libraries, and no network
    kind = "file or folder" if name == "../tinny" else "file"
    assert error.startswith(f"error: command line: There is no {kind} {name}")
    assert (
        error.endswith(f": did you mean {nearest}?") if nearest else "Check the name; that folder has d.jsonl" in error
    )


# Lengths


def run_train(flags):
    build_trainer(read_run(flags))


@pytest.fixture(scope="module")
def bos_model_folder(tmp_path_factory):
    """A model with a context of 64 tokens, and a template that writes the BOS token as Llama's does."""
    folder = tmp_path_factory.mktemp("models") / "bos"
    build_model(max_position_embeddings=64).save_pretrained(folder)
    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {f"w{n}": n for n in range(3, 32)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        bos_token="w3",
        padding_side="left",
    )
    tokenizer.chat_template = "{{ bos_token }} {% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


def build_chat(number):
    return [{"role": "user", "content": "w5 " * number}]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "analyze", "analyze="])
def test_a_prompt_and_its_answer_have_to_fit_into_the_context(command, bos_model_folder, tmp_path, capsys):
    rows = [{"prompt": build_chat(number), "answer": 1} for number in (3, 55, 55)]
    fits = write_rows(tmp_path / "fits.jsonl", {"prompt": build_chat(9)}, *rows)
    rows.insert(2, {"prompt": build_chat(56), "answer": 1})
    too_long = write_rows(tmp_path / "long.jsonl", {"prompt": build_chat(9)}, *rows)

    def run(data):
        flags = build_flags(bos_model_folder, data, tmp_path / "out")
        if command == "train":
            return build_trainer(read_run(flags))
        prompts = [f"--prompts={data}"] if command == "analyze=" else ["--prompts", data]
        flags = ["--model_name_or_path", str(bos_model_folder), *prompts, "--num_generations", "1"]
        return main(["analyze", *flags, "--max_completion_length", "8", "--output_dir", str(tmp_path / "out")])

    error = fail(capsys, run, too_long)
    sentence = f"error: {too_long}, row 4: the prompt has 57 tokens, and an answer up to 8 (max_completion_length), but prompt "
    assert error.startswith(sentence + "and answer have room for 64: ")
    assert ("max_prompt_length 56" in error) == (command == "train")
    assert not (tmp_path / "out").exists()
    run(fits)


def test_longer_prompts_are_left_out_on_request(bos_model_folder, tmp_path, capsys):
    """The tokens of a template count once: today's limit of 57 keeps a prompt of 57 tokens."""
    data = write_rows(tmp_path / "a.jsonl", *({"prompt": build_chat(number), "answer": 1} for number in (55, 56, 57)))
    for limit, kept in ((57, [55, 56]), (56, [55])):
        flags = build_flags(bos_model_folder, data, tmp_path / "out", max_prompt_length=limit, max_completion_length=4)
        dataset = build_trainer(read_run(flags)).train_dataset
        assert [len(prompt[0]["content"].split()) for prompt in dataset["prompt"]] == kept
        assert f"{len(kept)} of 3 prompts have at most {limit} tokens" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "analyze"])
def test_a_prompt_of_two_million_characters_is_refused_at_once(command, bos_model_folder, tmp_path, capsys):
    text = ("w5 " * 2_000_000)[:2_000_000]
    data = write_rows(tmp_path / "a.jsonl", {"question": "w4", "answer": 1}, {"question": text, "answer": 1})
    flags = [
        "analyze",
        "--model_name_or_path",
        str(bos_model_folder),
        "--prompts",
        data,
        "--max_completion_length",
        "8",
    ]
    start = time.process_time()
    if command == "train":
        error = fail(capsys, run_train, build_flags(bos_model_folder, data, tmp_path / "out"))
    else:
        error = fail(capsys, main, [*flags, "--output_dir", str(tmp_path / "out")])
    assert time.process_time() - start < 20
    assert f"{data}, row 2: the prompt has at least " in error and "have room for 64: " in error
    flags = build_flags(bos_model_folder, data, tmp_path / "out", max_prompt_length=20)
    assert len(build_trainer(read_run(flags)).train_dataset) == 1


def test_an_answer_longer_than_the_context_is_refused(bos_model_folder, tmp_path, capsys):
    data = write_rows(tmp_path / "a.jsonl", {"question": "w4", "answer": 1})
    error = fail(capsys, run_train, build_flags(bos_model_folder, data, tmp_path / "out", max_completion_length=64))
    assert error.startswith(
        "error: max_completion_length is 64, but the model has room for 64 tokens of prompt and answer"
    )


@pytest.mark.parametrize(
    ("flags", "length"),
    [
        ([], 64),
        (["--vllm_max_model_length", "48"], 48),
        (["--vllm_max_model_length", "480"], 64),
        (["--model_init_kwargs", '{"max_position_embeddings": 128}'], 128),
        (["--model_name_or_path", "no/model"], None),
        (["--model_name_or_path", "no/model", "--vllm_max_model_length", "48"], 48),
    ],
)
def test_the_context_is_read_without_the_weights(flags, length, bos_model_folder):
    arguments = make_parser().parse_args_and_config(["--model_name_or_path", str(bos_model_folder), *flags])
    assert read_context_length(None, *arguments[1:]) == length


def test_a_model_without_a_chat_template_is_one_sentence(tmp_path, tiny_model_folder, capsys):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    tokenizer.chat_template = None
    build_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    data = write_rows(tmp_path / "a.jsonl", {"question": "w4", "answer": 1})
    error = fail(capsys, run_train, build_flags(tmp_path / "model", data, tmp_path / "out"))
    assert error == "error: The tokenizer has no chat template: set prompt_template to paper, or give prompts as text."


# A whole run


def write_problems(path, problems):
    if path.suffix == ".jsonl":
        return write_rows(path, *problems)
    text = io.StringIO()
    writer = csv.DictWriter(text, problems[0])
    writer.writeheader()
    writer.writerows(problems)
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    return str(path)


def find_last_box(completion):
    boxes = [word for word in completion.split() if word.startswith("\\boxed{")]
    return boxes[-1] if boxes else None


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".csv.gz"])
def test_ten_steps_on_problems_with_prose_reward_the_right_answers(suffix, tmp_path, capsys):
    """
    As Countdown: reach a number from others. The prose ends with another number than the answer, so that a reward for the
    prose is a reward for a wrong answer.
    """
    boxes = [rf"\boxed{{{number}}}" for number in range(10, 14)]
    words = ["<pad>", "<eos>", "<unk>", "Reach", "User:", "Assistant:", *map(str, range(1, 14)), *boxes]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    build_model(vocab_size=len(words), scale=0.2).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    problems = [
        {
            "problem": f"Reach {goal} from {goal - 3} and {3}",
            "solution": f"We take ${goal - 3} + 3 = {goal}$. With 2 in place of 3 it would be ${goal - 1}$.",
            "answer": str(goal),
        }
        for goal in (11, 12, 13)
    ]
    data = write_problems(tmp_path / f"problems{suffix}", problems)
    settings = {"max_steps": 10, "per_device_train_batch_size": 48, "num_generations": 16, "max_completion_length": 4}
    settings |= {"prompt_template": "paper", "log_completions": True, "logging_steps": 1, "learning_rate": 3e-3}
    trainer = train(build_flags(tmp_path / "model", data, tmp_path / "out", **settings))
    printed = capsys.readouterr().out
    assert "3 of 3 problems have an answer" in printed and "The answer is from the column answer (3 rows)." in printed

    assert trainer.state.global_step == 10
    files = sorted((tmp_path / "out" / "completions").glob("*.parquet"))
    completions = pandas.concat(map(pandas.read_parquet, files))
    right = [
        rf"\boxed{{{prompt.split('Reach ')[1].split()[0]}}}" == find_last_box(completion)
        for prompt, completion in zip(completions["prompt"], completions["completion"], strict=True)
    ]
    assert list(completions["math_reward"]) == [float(is_right) for is_right in right]
    assert 20 < sum(right) < len(right)
    rewards = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    assert sum(rewards[-3:]) > 1.5 * sum(rewards[:3])
