"""
Write docs/settings.md from the dataclass `ForkingGRPOConfig`: names, types and defaults from its fields, the text from its
docstring.

    python docs/make_settings.py
"""

import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

from trl import GRPOConfig

from trl_forking import ForkingGRPOConfig
from trl_forking.run.live_settings import CHANGEABLE


PAGE = Path(__file__).parent / "settings.md"
GROUPS = {
    "Which tokens are trained": (
        *("top_entropy_quantile", "token_selection", "token_rule", "top_entropy_quantile_end", "selection_scope"),
        *("count_zero_advantage", "kl_tokens"),
    ),
    "The objective": ("loss_normalizer", "loss_type", "epsilon_high"),
    "The rollout": ("dynamic_sampling", "dynamic_sampling_max_rounds", "entropy_from_generation"),
    "What the update computes": (
        *("sparse_update", "balance_micro_batches", "balance_ranks", "max_tokens_per_micro_batch"),
        *("gradient_path", "gradient_path_window", "bf16"),
    ),
    "Logs and files": ("log_entropy", "overwrite_output_dir"),
}
# TRL's fields that nearly every run sets, in this project's words.
COMMON = {
    "output_dir": "the folder of the run",
    "per_device_train_batch_size": "answers of one forward pass on one process (a micro-batch)",
    "gradient_accumulation_steps": "micro-batches of an optimizer step",
    "steps_per_generation": "micro-batches of a rollout. If not set, one optimizer step for each rollout",
    "num_generations": "answers to each prompt, the size of a group",
    "num_iterations": "how often a rollout is trained",
    "max_completion_length": "largest number of tokens of an answer",
    "max_steps": "optimizer steps of the run. -1: `num_train_epochs` decides",
    "learning_rate": "the paper: 1e-6",
    "lr_scheduler_type": "how the learning rate changes. The paper: `constant`",
    "temperature": "sampling temperature. Entropies are taken at this temperature too",
    "beta": "weight of the KL term. The paper has none. Above 0 it needs `kl_tokens`, if tokens are dropped",
    "epsilon": "lower clip range",
    "delta": "upper limit of the importance ratio (two-sided clipping). The paper's code: 10.0",
    "scale_rewards": "what an advantage is divided by: the deviation of the `group`, of the `batch`, or `none`",
    "importance_sampling_level": "`token` or `sequence` (GSPO)",
    "mask_truncated_completions": "leave out answers that the length limit has cut",
    "use_vllm": "generate with [vLLM](vllm.md)",
    "vllm_mode": "`colocate`: on the training GPUs; `server`: on GPUs of its own",
    "gradient_checkpointing": "less memory for more time",
    "log_completions": "write a table of answers at the steps that are logged",
    "save_steps": "steps from one checkpoint to the next",
    "report_to": "trackers, such as `wandb`, `trackio` and `tensorboard`",
}
HEAD = """\
# Settings

`python docs/make_settings.py` writes this page from the dataclass `ForkingGRPOConfig`. [Words](words.md) explains the terms.

`ForkingGRPOConfig` has every field of TRL's [`GRPOConfig`](https://huggingface.co/docs/trl/grpo_trainer), and the fields on this
page. In Python they are arguments. In YAML they are keys. On the command line they are flags: `--top_entropy_quantile 0.1`. A flag
overrides the YAML file, and the YAML file overrides the default.

A wrong value is refused before anything is loaded. The message says what is wrong, where the value stands (on the command line, or on
which line of the YAML file), and what to set. [Troubleshooting](troubleshooting.md) lists the messages.
"""
LIVE = (
    "A callback may change these fields: {names}. The new value acts from the next rollout on. A field that the trainer reads when it "
    "is built cannot change: training then ends with a message that names it."
)


def read_texts() -> dict[str, tuple[str, str]]:
    """Read the type and the text of every field from the docstring."""
    texts = {}
    section = inspect.getdoc(ForkingGRPOConfig).split("Parameters:")[1].split("Raises:")[0]
    for entry in re.split(r"\n(?= {4}\w+ \()", section):
        match = re.match(r"\s*(\w+) \((.+?)\):\n(.*)", entry.split("\n    > ")[0], flags=re.DOTALL)
        if match:
            texts[match[1]] = match[2].split(",")[0], to_markdown(inspect.cleandoc(match[3]))
    return texts


def to_markdown(text: str) -> str:
    r"""Write formulas as GitHub does, `$x$` for `\\( x \\)`, and names without their brackets."""
    text = re.sub(r"\\\\\(\s*(.+?)\s*\\\\\)", r"$\1$", text)
    return re.sub(r"\[(`[\w~.]+`)\](?!\()", r"\1", text).replace("`~", "`")


def describe_field(
    name: str, fields: dict[str, Any], theirs: dict[str, Any], texts: dict[str, tuple[str, str]]
) -> str:
    """Describe a field: its type, its default, TRL's if that is another, and its text."""
    kind, text = texts[name]
    facts = [f"Type {kind}", f"default `{fields[name].default!r}`"]
    if name == "bf16":
        facts[1:] = ["default: what the machine can do", "TRL's default: always `True`"]
    elif name in theirs and theirs[name].default != fields[name].default:
        facts.append(f"TRL's default is `{theirs[name].default!r}`")
    return f"### `{name}`\n\n{', '.join(facts)}.\n\n{text}\n"


def build_page() -> str:
    """Build the page."""
    fields = {field.name: field for field in dataclasses.fields(ForkingGRPOConfig)}
    theirs = {field.name: field for field in dataclasses.fields(GRPOConfig)}
    texts = read_texts()
    listed = {name for names in GROUPS.values() for name in names}
    if listed != set(texts):
        raise ValueError(f"These fields are in no group, or have no text: {sorted(listed ^ set(texts))}.")
    rows = [
        [f"[`{name}`](#{name})", f"`{fields[name].default!r}`", get_help(fields[name])]
        for names in GROUPS.values()
        for name in names
    ]
    parts = [HEAD, write_table(["field", "default", "in short"], rows)]
    for title, names in GROUPS.items():
        parts += [f"## {title}\n", *(describe_field(name, fields, theirs, texts) for name in names)]
    parts.append("\n## What may change in a running training\n")
    parts.append(textwrap.fill(LIVE.format(names=", ".join(f"`{name}`" for name in CHANGEABLE)), 132))
    parts.append(
        "\n## Fields of TRL that most runs set\n\nThe defaults are TRL's. All fields are in TRL's documentation of `GRPOConfig`.\n"
    )
    common = [[f"`{name}`", f"`{get_default(fields[name])!r}`", text] for name, text in COMMON.items()]
    parts.append(write_table(["field", "default", "meaning"], common))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def get_default(field: Any) -> Any:
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return getattr(default, "value", default)


def get_help(field: Any) -> str:
    """Return the short help of the command line."""
    return "Train in bfloat16." if field.name == "bf16" else field.metadata["help"]


def write_table(columns: list[str], rows: list[list[str]]) -> str:
    """Write a table whose cells are Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Write the page."""
    PAGE.write_text(build_page())


if __name__ == "__main__":
    main()
