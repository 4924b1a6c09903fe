"""`trl-forking doctor`: the batch, what a run needs, and what stands in its way."""

import pytest
from transformers import Qwen3Config

from trl_forking.commands.compare import order_by_step
from trl_forking.commands.estimates import GPUS, count_lora, estimate_memory, estimate_rollout_seconds, measure_shape
from trl_forking.commands.main import main
from trl_forking.commands.math_arguments import make_parser
from trl_forking.commands.recipes import find_config
from trl_forking.commands.settings import compute_batch, plan_config


GOOD = ["doctor", "--config", "cpu_smoke", "--output_dir"]


def run(flags, capsys) -> tuple[int, str, str]:
    code: object = 0
    try:
        main(flags)
    except SystemExit as stopped:
        code = stopped.code
    output = capsys.readouterr()
    return code, output.out, output.err


def test_a_run_that_nothing_stands_in_the_way_of(tmp_path, capsys):
    code, text, _ = run([*GOOD, str(tmp_path / "new"), "--probe", "4"], capsys)
    assert code == 0 and text.rstrip().endswith("Nothing stands in the way.")
    for part in (
        "16 prompts x 8 answers a rollout on 1 process",
        "10 optimizer steps, 5 rollouts",
        " of 4 groups have equal",
    ):
        assert part in text
    for part in ("Context: the model takes 128 tokens", "Memory: about", "Disk: about", "Time: not computed"):
        assert part in text
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("flags", "obstacle"),
    [
        (["--model_name_or_path", "./none", "--dataset_name", "./none.jsonl"], "There is no model at ./none"),
        (["--model_name_or_path", "./none", "--dataset_name", "./none.jsonl"], "There is no file ./none.jsonl"),
        (["--max_completion_length", "200"], "has room for 128 tokens"),
        (["--accelerate_config", "zero3"], "use_cpu is true"),
    ],
)
def test_what_stands_in_the_way_is_listed(tmp_path, capsys, flags, obstacle):
    code, text, _ = run([*GOOD, str(tmp_path), *flags], capsys)
    assert code == 1 and obstacle in text.split("In the way:")[1]


def test_a_run_on_another_machine_is_not_held_up_by_this_one(tmp_path, capsys):
    flags = [
        "--use_cpu",
        "false",
        "--bf16",
        "false",
        "--gpu",
        "h100",
        "--num_processes",
        "2",
        "--accelerate_config",
        "ddp",
    ]
    code, text, _ = run([*GOOD, str(tmp_path / "new"), *flags], capsys)
    assert code == 0 and "on h100" in text


def test_a_folder_of_another_run_stands_in_the_way(tmp_path, capsys):
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text("{}")
    code, text, _ = run([*GOOD, str(tmp_path)], capsys)
    assert code == 1 and "checkpoint-2 is of another run" in text.split("In the way:")[1]


@pytest.mark.parametrize(
    ("size", "near"), [("7", "set num_generations to 4 or 8"), ("12", "set num_generations to 8 or 16")]
)
def test_a_number_that_does_not_divide_has_valid_neighbors(capsys, size, near):
    code, _, error = run([*GOOD, "runs/x", "--num_generations", size], capsys)
    assert code == 2 and near in error


def test_estimates_are_those_of_the_recipes(tmp_path):
    """By an obvious sum: docs/recipes.md has 4.0 GB of states, 14 GB generating and 8 GB updating for LoRA on 24 GB."""
    sizes = {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16}
    config = Qwen3Config(**sizes, num_key_value_heads=8, head_dim=128, vocab_size=151_936, tie_word_embeddings=True)
    shape = measure_shape(config)
    assert round(shape.parameters / 1e9, 2) == 1.72 and shape.cache == 28 * 2 * 8 * 128 * 2
    path = str(find_config("one_24gb_gpu_lora", "recipes"))
    script, args, model = make_parser(plan_config(1)).parse_args_and_config(["--config", path])
    memory = estimate_memory(shape, args, model, script.max_prompt_length, count_lora(config, model.lora_r))
    assert round(memory.states / 1e9, 1) == 4.0 and round(memory.updating / 1e9) == 8
    hours = estimate_rollout_seconds(shape, args, GPUS["4090"], 1500, 3) * args.max_steps / 3600
    assert 17 < hours / float(compute_batch(args).steps_per_rollout) < 19  # 18 hours


def test_checkpoints_are_ordered_by_step_and_others_stay_where_they_are(tmp_path):
    names = [str(tmp_path / f"checkpoint-{step}") for step in (12, 8, 100)]
    assert order_by_step(names) == [names[1], names[0], names[2]]
    assert order_by_step(["a", names[0], "b", names[1]]) == ["a", names[1], "b", names[0]]
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed" / "trainer_state.json").write_text('{"global_step": 10}')
    renamed = str(tmp_path / "renamed")
    assert order_by_step([names[0], renamed, names[1]]) == [names[1], renamed, names[0]]
