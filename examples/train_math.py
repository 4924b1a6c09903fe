# /// script
# requires-python = ">=3.11"
# dependencies = ["trl-forking[math,peft]", "gguf"]
# ///
"""
Train a language model on maths problems, with gradient on its forking tokens only.

    python examples/train_math.py --config examples/train_math.yaml
    accelerate launch examples/train_math.py --config examples/train_math.yaml --top_entropy_quantile 0.1

Every flag of `ForkingGRPOConfig`, TRL's `ModelConfig` and `ScriptArguments` can stand in the file or on the command
line. The reward is 1 for the right answer in \\boxed{}, less the paper's penalty for overlong answers. Left out:
evaluation, and problems whose answer math-verify can't read.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from trl import ModelConfig, ScriptArguments, get_peft_config, get_quantization_config
from trl.rewards import accuracy_reward, get_soft_overlong_punishment

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.arguments import ForkingParser, UserError, exit_on_user_error, require


INSTRUCTION = "\nReason step by step, and put the final answer in \\boxed{}."


@dataclass
class MathArguments(ScriptArguments):
    gguf_file: str | None = field(default=None, metadata={"help": "GGUF file in the folder `model_name_or_path`."})
    soft_overlong_cache: int = field(default=0, metadata={"help": "Last tokens of `max_completion_length` that cost."})


def check(script_args: MathArguments, training_args: ForkingGRPOConfig, model_args: ModelConfig, source: str) -> None:
    """Refuse what would fail later, before anything is loaded."""
    if not model_args.model_name_or_path:
        raise UserError(f"{source}: model_name_or_path is missing: give a model of the Hub or a folder.")
    if not script_args.dataset_name:
        raise UserError(f"{source}: dataset_name is missing: give a data set of the Hub or a .jsonl file.")
    longest = training_args.max_completion_length
    if not 0 <= script_args.soft_overlong_cache <= longest:
        raise UserError(f"{source}: soft_overlong_cache must be 0 to {longest} (max_completion_length).")
    require("math_verify", "trl-forking[math]")
    if model_args.use_peft:
        require("peft", "trl-forking[peft]")
    if script_args.gguf_file:
        require("gguf", "gguf")


def load_problems(args: MathArguments) -> Dataset:
    """Make rows of `prompt` (a chat) and `solution` from a JSON-lines file or a data set of the Hub."""
    from math_verify import parse

    name, hub = args.dataset_name, (args.dataset_name, args.dataset_config)
    dataset = read_rows(name) if name.endswith(".jsonl") else load_dataset(*hub, split=args.dataset_train_split)
    columns = dataset.column_names
    question = next((column for column in ("prompt", "question", "problem") if column in columns), None)
    answer = next((column for column in ("solution", "answer") if column in columns), None)
    if not (question and answer):
        raise UserError(f"{name} has the columns {columns}: name one prompt or question, and one solution or answer.")

    def to_row(row: dict) -> dict:
        text = row[question]
        chat = [{"role": "user", "content": text + INSTRUCTION}] if isinstance(text, str) else text
        return {"prompt": chat, "solution": str(row[answer])}

    # `accuracy_reward` gives None where it can't read the gold answer: that group would cost time and teach nothing.
    rows = [row for row in map(to_row, dataset) if parse(row["solution"])]
    if not rows:
        raise UserError(f"{name}: math-verify can read no answer in the column {answer}: give numbers or LaTeX.")
    print(f"{name}: {len(rows)} of {len(dataset)} problems have an answer that math-verify can read")
    return Dataset.from_list(rows)


def read_rows(name: str) -> Dataset:
    if not Path(name).is_file():
        raise UserError(f"dataset_name: there is no file {name}: examples/make_gsm_data.py writes one.")
    rows = []
    for number, line in enumerate(Path(name).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise UserError(f"{name}:{number}: not a JSON object: write one per line.") from error
    return Dataset.from_list(rows)


def load_model(gguf_file: str | None, training_args: ForkingGRPOConfig, model_args: ModelConfig) -> dict:
    """Return the trainer's `model` and what goes with it; the trainer itself loads anything but GGUF."""
    name, kwargs = model_args.model_name_or_path, {"dtype": model_args.dtype, "revision": model_args.model_revision}
    if gguf_file:  # packed weights can be neither trained nor saved
        kwargs |= {"gguf_file": gguf_file, "quantization_config": GgufConfig(dequantize=True)}
        model = AutoModelForCausalLM.from_pretrained(name, **kwargs)
        return {"model": model, "processing_class": AutoTokenizer.from_pretrained(name, gguf_file=gguf_file)}
    kwargs |= {"attn_implementation": model_args.attn_implementation} | (training_args.model_init_kwargs or {})
    training_args.model_init_kwargs = kwargs
    return {"model": name, "quantization_config": get_quantization_config(model_args)}


if __name__ == "__main__":
    parser = ForkingParser((MathArguments, ForkingGRPOConfig, ModelConfig))
    script_args, training_args, model_args = parser.parse_args_and_config()
    with exit_on_user_error(parser.debug):
        check(script_args, training_args, model_args, parser.config_path or "command line")
        overlong = get_soft_overlong_punishment(training_args.max_completion_length, script_args.soft_overlong_cache)
        trainer = ForkingGRPOTrainer(
            args=training_args,
            reward_funcs=[accuracy_reward, overlong],
            train_dataset=load_problems(script_args),
            peft_config=get_peft_config(model_args),
            **load_model(script_args.gguf_file, training_args, model_args),
        )
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model(training_args.output_dir)
    trainer.accelerator.print(f"Saved to {training_args.output_dir}")
    trainer.accelerator.end_training()
