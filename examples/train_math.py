# /// script
# requires-python = ">=3.11"
# dependencies = ["trl-forking[math,peft]", "gguf"]
# ///
"""
Train a language model on math problems, with gradient on its forking tokens only.

    python examples/train_math.py --config examples/train_math.yaml
    accelerate launch examples/train_math.py --config examples/train_math.yaml --top_entropy_quantile 0.1
    trl-forking grpo --config cpu_smoke    # a file of examples/recipes; starts accelerate where it is needed

Every flag of `ForkingGRPOConfig`, TRL's `ModelConfig` and `ScriptArguments` can stand in the file or on the command
line. The reward is 1 for the right answer in \\boxed{}, less the paper's penalty for overlong answers. Left out:
evaluation, and problems whose answer math-verify can't read.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from trl import ModelConfig, ScriptArguments, get_peft_config, get_quantization_config
from trl.rewards import get_soft_overlong_punishment

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer, countdown
from trl_forking.card.model_card import set_aside_other_run
from trl_forking.card.run_files import write_config
from trl_forking.commands.arguments import ForkingParser
from trl_forking.commands.grpo import LaunchArguments, choose_config_class
from trl_forking.commands.settings import check_num_processes, describe_batch, format_settings
from trl_forking.data.problems import drop_long_prompts, load_problems
from trl_forking.data.templates import END_OF_TEXT
from trl_forking.hub.errors import PushError
from trl_forking.rewards.math_reward import math_reward
from trl_forking.run.resume import find_last_complete, resolve_checkpoint
from trl_forking.run.run_folder import FullDiskError
from trl_forking.run.user_errors import UserError, exit_on_user_error, require


BUILT_IN = "countdown"  # dataset_name and model_name_or_path of the task that comes with the package


@dataclass
class MathArguments(LaunchArguments, ScriptArguments):
    prompt_template: Literal["chat", "paper"] = field(
        default="chat", metadata={"help": "`chat`: the model's own; `paper`: the paper's plain text, for base models."}
    )
    max_prompt_length: int | None = field(default=None, metadata={"help": "Leave out prompts that have more tokens."})
    soft_overlong_cache: int = field(default=0, metadata={"help": "Last tokens of `max_completion_length` that cost."})
    gguf_file: str | None = field(default=None, metadata={"help": "GGUF file in the folder `model_name_or_path`."})


def make_parser(config_class: type[ForkingGRPOConfig], **kwargs: Any) -> ForkingParser:
    return ForkingParser((MathArguments, config_class, ModelConfig), **kwargs)


def check(script_args: MathArguments, training_args: ForkingGRPOConfig, model_args: ModelConfig, source: str) -> None:
    """Refuse values that would fail later, before anything is loaded."""
    if not model_args.model_name_or_path:
        raise UserError(f"{source}: model_name_or_path is missing: give a model of the Hub or a folder.")
    if not script_args.dataset_name:
        raise UserError(f"{source}: dataset_name is missing: give a data set of the Hub or a .jsonl file.")
    if (script_args.dataset_name == BUILT_IN) != (model_args.model_name_or_path == BUILT_IN):
        raise UserError(f"{source}: the built-in model knows the built-in task only: set both names to {BUILT_IN}.")
    longest = training_args.max_completion_length
    if not 0 <= script_args.soft_overlong_cache <= longest:
        raise UserError(f"{source}: soft_overlong_cache must be 0 to {longest} (max_completion_length).")
    needed, window = longest + (script_args.max_prompt_length or 1), training_args.vllm_max_model_length
    if window is not None and window < needed:
        raise UserError(f"{source}: vllm_max_model_length is {window}: prompt and answer take up to {needed} tokens.")


def check_packages(args: MathArguments, training_args: ForkingGRPOConfig, model_args: ModelConfig) -> None:
    """Refuse what this machine can't do for want of a package."""
    needed = {
        "math_verify": (args.dataset_name != BUILT_IN, "trl-forking[math]"),
        "peft": (model_args.use_peft, "trl-forking[peft]"),
        "bitsandbytes": (model_args.load_in_4bit or model_args.load_in_8bit, "bitsandbytes"),
        "vllm": (training_args.use_vllm, "trl-forking[vllm]"),
        "gguf": (args.gguf_file, "gguf"),
    }
    for package, (is_needed, install) in needed.items():
        if is_needed:
            require(package, install)


def find_checkpoint(args: ForkingGRPOConfig) -> str | bool | None:
    """Return what the trainer resumes from: a folder, or None for a new run, which may not write over another."""
    folder = str(args.resume_from_checkpoint)  # a flag that may be none, a path, or a word for the newest one
    if folder.lower() in ("none", "false"):
        if last := find_last_complete(args.output_dir):
            raise UserError(
                f"{last} is of another run: --resume_from_checkpoint true goes on with it, or set output_dir."
            )
        return None
    return resolve_checkpoint(True if folder.lower() in ("true", "last") else folder, args.output_dir)


def load_tokenizer(args: MathArguments, training_args: ForkingGRPOConfig, model_args: ModelConfig) -> Any:
    if model_args.model_name_or_path == BUILT_IN:
        return countdown.load_countdown_tokenizer()
    kwargs = {"gguf_file": args.gguf_file} if args.gguf_file else {"revision": model_args.model_revision}
    kwargs |= {"padding_side": "left", "truncation_side": "left", "trust_remote_code": training_args.trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path, **kwargs)
    if args.prompt_template == "paper" and END_OF_TEXT in tokenizer.get_vocab():
        tokenizer.eos_token = END_OF_TEXT  # the tokenizers of Qwen3's base models say <|im_end|>
        if training_args.use_vllm:  # it reads the model's own tokenizer
            stop = {"stop_token_ids": [tokenizer.eos_token_id]}
            training_args.generation_kwargs = stop | (training_args.generation_kwargs or {})
    return tokenizer


def load_model(gguf_file: str | None, training_args: ForkingGRPOConfig, model_args: ModelConfig) -> dict:
    """Return the trainer's `model` and what goes with it; the trainer itself loads any model of the Hub but GGUF."""
    name, kwargs = model_args.model_name_or_path, {"dtype": model_args.dtype, "revision": model_args.model_revision}
    if name == BUILT_IN:
        return {"model": countdown.load_countdown_model()}
    if gguf_file:  # packed weights can be neither trained nor saved
        kwargs |= {"gguf_file": gguf_file, "quantization_config": GgufConfig(dequantize=True)}
        return {"model": AutoModelForCausalLM.from_pretrained(name, **kwargs)}
    kwargs |= {"attn_implementation": model_args.attn_implementation} | (training_args.model_init_kwargs or {})
    training_args.model_init_kwargs = kwargs
    return {"model": name, "quantization_config": get_quantization_config(model_args)}


def main(args: list[str] | None = None) -> ForkingGRPOTrainer | None:
    parser = make_parser(choose_config_class(args))
    script_args, training_args, model_args = parser.parse_args_and_config(args)
    source = parser.config_path or "command line"
    with exit_on_user_error(parser.debug):
        check(script_args, training_args, model_args, source)
        if script_args.dry_run:
            print(f"# {describe_batch(training_args)}\n{format_settings(script_args, training_args, model_args)}")
            return None
        check_packages(script_args, training_args, model_args)
        check_num_processes(script_args.num_processes, training_args, source)
        checkpoint = find_checkpoint(training_args)
        settings = format_settings(script_args, training_args, model_args)  # before loading changes them
        tokenizer = load_tokenizer(script_args, training_args, model_args)
        if script_args.dataset_name == BUILT_IN:
            reward: Any = countdown.countdown_reward
            problems = countdown.make_countdown_dataset("train", countdown.NUM_PROBLEMS["train"], training_args.seed)
        else:
            hub = (script_args.dataset_name, script_args.dataset_config, script_args.dataset_train_split)
            reward, problems = math_reward, load_problems(*hub, template=script_args.prompt_template)
        overlong = get_soft_overlong_punishment(training_args.max_completion_length, script_args.soft_overlong_cache)
        trainer = ForkingGRPOTrainer(
            args=training_args,
            reward_funcs=[reward, overlong],
            train_dataset=drop_long_prompts(problems, tokenizer, script_args.max_prompt_length),
            processing_class=tokenizer,
            peft_config=get_peft_config(model_args),
            **load_model(script_args.gguf_file, training_args, model_args),
        )
    trainer.accelerator.print(describe_batch(training_args))
    if trainer.is_world_process_zero():
        if checkpoint is None:
            set_aside_other_run(training_args.output_dir)  # before this run's settings would be taken for the other's
        write_config(training_args.output_dir, settings)  # what the card's command runs again
    with exit_on_user_error(parser.debug, (FullDiskError, PushError)):  # both are one sentence, with the way on
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model(training_args.output_dir)
    trainer.accelerator.print(f"Saved to {training_args.output_dir}")
    trainer.accelerator.end_training()
    return trainer


if __name__ == "__main__":
    main()
