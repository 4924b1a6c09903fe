"""Every recipe parses, has the paper's numbers on its GPUs, and needs the memory and time that its head states."""

import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
import yaml
from safetensors.torch import load_file
from trl import ModelConfig

from trl_forking.commands.math_arguments import MathArguments, check_arguments, make_parser
from trl_forking.commands.recipes import find_examples
from trl_forking.commands.settings import compute_batch, plan_config
from trl_forking.countdown import ASSETS


EXAMPLES = find_examples()
RECIPES = {path.stem: path for path in sorted((EXAMPLES / "recipes").glob("*.yaml"))}
PAPER = ["paper_qwen3_8b", "paper_qwen3_14b", "paper_qwen3_32b"]
CONTROLS = {
    "control_all_tokens": {"top_entropy_quantile": 1.0},
    "control_low_entropy": {"token_selection": "low_entropy"},
    "control_random": {"token_selection": "random"},
    "control_rho_0.1": {"top_entropy_quantile": 0.1},
    "control_rho_0.5": {"top_entropy_quantile": 0.5},
}
OWN = ["one_24gb_gpu_lora", "one_24gb_gpu_qlora", "one_80gb_gpu", "cpu_smoke"]


@pytest.fixture
def parse(tmp_path):
    """Parse a recipe as a run does, for the number of processes that it names."""

    def run(name):
        config_class = plan_config(read(name)["num_processes"])
        parser = make_parser(config_class)
        assert [*parser.dataclass_types] == [MathArguments, config_class, ModelConfig]
        return parser.parse_args_and_config(["--config", str(RECIPES[name]), "--output_dir", str(tmp_path)])

    return run


def read(name):
    return yaml.safe_load(RECIPES[name].read_text())


def read_head(name):
    """Return the comment lines that stand before the first setting, by what they begin with."""
    head = RECIPES[name].read_text().split("\nmodel_name_or_path")[0].splitlines()
    assert all(line.startswith("#") for line in head)
    return {key: value for key, _, value in (line.lstrip("# ").partition(": ") for line in head) if value}


def test_there_is_a_recipe_for_everything_promised():
    assert set(RECIPES) == {*PAPER, *CONTROLS, *OWN}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_its_config_and_passes_the_checks(name, parse):
    script_args, training_args, model_args = parse(name)
    check_arguments(script_args, training_args, model_args, name)
    assert training_args.world_size == script_args.num_processes


# The paper's table


@pytest.mark.parametrize("name", [*PAPER, *CONTROLS])
def test_effective_numbers_are_the_papers(name, parse):
    _, args, _ = parse(name)
    batch = compute_batch(args)
    assert batch.prompts_per_rollout == 512
    assert batch.answers_per_prompt == 16
    assert batch.prompts_per_step == 32
    assert batch.steps_per_rollout == 16
    assert args.generation_batch_size == 512 * 16  # as TRL resolves it


@pytest.mark.parametrize("name", [*PAPER, *CONTROLS])
def test_settings_are_the_papers(name, parse):
    script_args, args, model_args = parse(name)
    size = {"paper_qwen3_14b": "14B", "paper_qwen3_32b": "32B"}.get(name, "8B")
    assert model_args.model_name_or_path == f"Qwen/Qwen3-{size}-Base"
    assert (script_args.dataset_name, script_args.dataset_config) == ("open-r1/DAPO-Math-17k-Processed", "all")
    assert (script_args.prompt_template, script_args.max_prompt_length) == ("paper", 2048)
    assert (args.max_completion_length, script_args.soft_overlong_cache) == (20480, 4096)
    assert (args.loss_type, args.epsilon, args.epsilon_high, args.delta) == ("dapo", 0.2, 0.28, 10.0)
    assert (args.beta, args.entropy_coef, args.scale_rewards, args.num_iterations) == (0.0, 0.0, "group", 1)
    assert (args.temperature, args.top_p, args.top_k, args.min_p) == (1.0, 1.0, 0, None)
    assert (args.learning_rate, args.lr_scheduler_type, args.warmup_steps) == (1e-6, "constant", 0)
    assert (args.weight_decay, args.max_grad_norm) == (0.1, 1.0)
    assert (args.dynamic_sampling, args.dynamic_sampling_max_rounds) == (True, 10)
    assert (args.loss_normalizer, args.count_zero_advantage) == ("kept", False)
    assert (args.use_vllm, args.vllm_importance_sampling_correction) == (True, False)
    if name in PAPER:
        assert (args.top_entropy_quantile, args.token_selection) == (0.2, "high_entropy")


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_differ_in_one_field(name):
    """And in the folder, or one run would write over the other's."""
    paper, control = read("paper_qwen3_8b"), read(name)
    assert set(paper) == set(control)
    different = {key: value for key, value in control.items() if value != paper[key]}
    assert different.pop("output_dir") == f"runs/{name}"
    assert different == CONTROLS[name]
    assert f"in {next(iter(different))} and in the folder" in RECIPES[name].read_text()


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(("paper", "one"))])
def test_the_penalty_begins_where_the_papers_does(name, parse):
    """At four fifths of the length, as with 4,096 of 20,480 tokens."""
    script_args, args, _ = parse(name)
    assert script_args.soft_overlong_cache == args.max_completion_length // 5


@pytest.mark.parametrize("name", RECIPES)
def test_checkpoints_fall_between_rollouts(name, parse):
    _, args, _ = parse(name)
    steps = compute_batch(args).steps_per_rollout
    assert args.save_steps % steps == 0
    assert args.max_steps % steps == 0


@pytest.mark.parametrize("name", RECIPES)
def test_the_comment_on_the_batch_computes(name, parse):
    """Each product of numbers in the comment is what it says, and the settings' own."""
    _, args, _ = parse(name)
    comment = re.search(r"# Batch: ((?:.*\n#?)+?)num_processes", RECIPES[name].read_text()).group(1).replace(",", "")
    products = re.findall(r"((?:\d+ x )+\d+) = (\d+) answers(?: = (\d+) prompts a (rollout|step))?", comment)
    batch = compute_batch(args)
    for product, answers, prompts, unit in products:
        factors = [int(factor) for factor in product.split(" x ")]
        assert torch.tensor(factors).prod() == int(answers)
        assert int(prompts) == {"rollout": batch.prompts_per_rollout, "step": batch.prompts_per_step}[unit]
        assert int(answers) == int(prompts) * args.num_generations
    assert products
    steps = re.search(r"so (\d+) steps", comment)
    assert int(steps.group(1)) if steps else "one step" in comment
    assert batch.steps_per_rollout == (int(steps.group(1)) if steps else 1)


# Heads, and what the estimates in them follow from (docs/recipes.md)


@pytest.mark.parametrize("name", RECIPES)
def test_heads_say_what_a_run_needs(name):
    head, settings = read_head(name), read(name)
    assert re.search(r"\d GB", head["Memory"])
    assert re.search(r"\d+ (days|hours|seconds) for [\d,]+ steps", head["Time"])
    assert f"for {settings['max_steps']:,} steps" in head["Time"]
    hardware = re.match(r"(\d+) GPUs? of \d+ GB", head["Hardware"])
    assert int(hardware.group(1) if hardware else 1) == settings["num_processes"]
    machines = re.search(r"(\d+) machines with 8", head["Hardware"])
    if machines:
        assert int(machines.group(1)) == settings["num_machines"] == settings["num_processes"] / 8
    text = RECIPES[name].read_text()
    assert f"trl-forking grpo --config {name}" in text
    if name == "cpu_smoke":
        assert "Measured" in text
    else:
        assert "Not run here." in text
        assert all("computed in docs/recipes.md" in head[key] for key in ("Memory", "Time"))


VOCABULARY = 151_936
GB = 1e9


@dataclass(frozen=True)
class Model:
    """Shape of a Qwen3 model; all have 8 key-value heads of 128 channels."""

    layers: int
    width: int
    inner: int
    heads: int
    is_tied: bool = False

    @property
    def head(self):
        return VOCABULARY * self.width

    @property
    def parameters(self):
        attention = self.width * 128 * (2 * self.heads + 2 * 8)
        layer = attention + 3 * self.width * self.inner + 2 * self.width + 2 * 128
        return self.layers * layer + self.width + self.head * (1 if self.is_tied else 2)

    @property
    def cache(self):
        """Bytes of keys and values of a token."""
        return self.layers * 2 * 8 * 128 * 2

    def count_lora(self, rank):
        sides = 4 * self.width + 2 * 128 * self.heads + 2 * 128 * 8 + 3 * (self.width + self.inner)
        return self.layers * rank * sides


QWEN3 = {
    "1.7B": Model(28, 2048, 6144, 16, is_tied=True),
    "8B": Model(36, 4096, 12288, 32),
    "14B": Model(40, 5120, 17408, 40),
    "32B": Model(64, 5120, 25600, 64),
}
H100 = {"memory": 80e9, "flops": 989e12, "bandwidth": 3.35e12}
RTX_4090 = {"memory": 25.8e9, "flops": 165e12, "bandwidth": 1.0e12}
# By recipe: model, GPU, mean answer length, rounds of dynamic sampling. Half of the groups are taken to be zero-variance groups.
ASSUMED = {
    "paper_qwen3_8b": ("8B", H100, 6084, 3),
    "paper_qwen3_14b": ("14B", H100, 7892, 3),
    "paper_qwen3_32b": ("32B", H100, 7782, 3),
    **dict.fromkeys(CONTROLS, ("8B", H100, 6084, 3)),
    "one_80gb_gpu": ("1.7B", H100, 3000, 3),
    "one_24gb_gpu_lora": ("1.7B", RTX_4090, 1500, 3),
}


def test_shapes_are_qwen3s():
    """The sizes that Qwen states: 1.7, 8.2, 14.8 and 32.8 billion parameters."""
    assert [round(model.parameters / GB, 1) for model in QWEN3.values()] == [1.7, 8.2, 14.8, 32.8]


def compute_memory(settings, model, gpu):
    """Return gigabytes of a GPU while it generates and while it updates."""
    tokens = settings["per_device_train_batch_size"] * (
        settings["max_prompt_length"] + settings["max_completion_length"]
    )
    is_float32 = settings["dtype"] == "float32"
    gradient_of_head = 4 * model.head  # in float32
    if settings.get("use_peft"):
        states = 2 * model.parameters + 16 * model.count_lora(settings["lora_r"])
        gathered = gradient_of_head = 0
    elif is_float32:
        states, gathered = 18 * model.parameters, 0  # with the copies in bfloat16 that the forward pass works on
    else:
        states, gathered = 16 * model.parameters / settings["num_processes"], 2 * model.head
    checkpoints = model.layers * tokens * model.width * (4 if is_float32 else 2)
    layer = 34 * tokens * model.width
    updating = states + checkpoints + layer + gathered + gradient_of_head + 0.5 * GB
    return (states + settings["vllm_gpu_memory_utilization"] * gpu["memory"]) / GB, updating / GB


def compute_hours(settings, model, gpu, mean_length, rounds):
    """Return the hours of the whole run."""
    engine = settings.get("vllm_tensor_parallel_size", 1)
    num_engines = settings["num_processes"] / engine
    answers = settings["num_processes"] * settings["per_device_train_batch_size"] * settings["steps_per_generation"]
    steps = settings["steps_per_generation"] / settings["gradient_accumulation_steps"]
    weights, bandwidth = 2 * model.parameters, engine * gpu["bandwidth"] * 0.5
    room = 0.9 * (settings["vllm_gpu_memory_utilization"] * gpu["memory"] * engine - weights)
    active = min(room / (model.cache * mean_length), answers / num_engines)
    per_token = (weights + active * mean_length / 2 * model.cache) / bandwidth
    generating = 2 * answers * mean_length / (active / per_token * num_engines)
    waiting = rounds * settings["max_completion_length"] * weights / bandwidth
    attention = 4 * model.layers * model.heads * 128 * mean_length / 2
    work = answers * mean_length * 5 * (2 * model.parameters + attention)
    share = 0.23 if model.parameters < 4e9 else 0.34
    updating = work / (settings["num_processes"] * gpu["flops"] * share)
    return (generating + waiting + updating) * settings["max_steps"] / steps / 3600


@pytest.mark.parametrize("name", ASSUMED)
def test_estimates_are_computed_as_documented(name):
    model, gpu, mean_length, rounds = ASSUMED[name]
    settings, head = read(name), read_head(name)
    generating, updating = compute_memory(settings, QWEN3[model], gpu)
    assert f"({generating:.0f} while generating, {updating:.0f} while updating)" in head["Memory"]
    assert f"about {max(generating, updating):.0f} GB" in head["Memory"]
    assert max(generating, updating) < 0.8 * gpu["memory"] / GB
    hours = compute_hours(settings, QWEN3[model], gpu, mean_length, rounds)
    time = f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
    assert f"about {time} for" in head["Time"]


def test_estimates_of_qlora_are_computed_as_documented():
    settings, head, model = read("one_24gb_gpu_qlora"), read_head("one_24gb_gpu_qlora"), QWEN3["8B"]
    in_4_bits = model.parameters - 2 * model.head
    states = in_4_bits * 4.127 / 8 + 2 * 2 * model.head + 16 * model.count_lora(32)
    answers = settings["per_device_train_batch_size"] * settings["steps_per_generation"]
    length = settings["max_prompt_length"] + settings["max_completion_length"]
    generating = states + answers * length * model.cache
    tokens = settings["per_device_train_batch_size"] * length
    updating = states + model.layers * tokens * model.width * 2 + 34 * tokens * model.width + 0.5 * GB
    expected = f"({generating / GB:.0f} while generating, {updating / GB:.0f} while updating)"
    assert expected in head["Memory"]
    # 65 ms for each token position of a round, and three rounds; five passes over 1,000 tokens an answer.
    update = answers * 1000 * 5 * 2 * model.parameters / (165e12 * 0.25)
    hours = (3 * 0.065 * settings["max_completion_length"] + update) * settings["max_steps"] / 3600
    assert f"about {hours:.0f} hours for" in head["Time"]


def test_the_page_names_every_recipe_and_its_figures():
    page = (EXAMPLES.parent / "docs" / "recipes.md").read_text()
    for name in RECIPES:
        (row,) = re.findall(rf"^\| \[`{re.escape(name)}`\].*", page, flags=re.MULTILINE)
        head = read_head(name)
        for figure in re.findall(r"about ([\d.]+ (?:GB|days|hours|seconds))", head["Memory"] + head["Time"]):
            assert figure in row, (name, figure)


# Runs


@pytest.mark.slow
def test_the_cpu_recipe_trains(tmp_path):
    command = [sys.executable, "-m", "trl_forking.commands.main", "grpo", "--config", "cpu_smoke", "--max_steps", "2"]
    done = subprocess.run([*command, "--output_dir", tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "16 prompts x 8 answers a rollout on 1 process (128 answers each); 2 optimizer steps a" in done.stdout
    before, after = load_file(ASSETS / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert any(not torch.equal(before[name].float(), after[name]) for name in after if name in before)
    assert (tmp_path / "checkpoint-2").is_dir()
