# /// script
# requires-python = ">=3.11"
# dependencies = ["trl-forking[math,peft]", "gguf"]
# ///
"""
Train a language model on math problems, with gradient on its forking tokens only.

    python examples/train_math.py --config examples/train_math.yaml
    accelerate launch examples/train_math.py --config examples/train_math.yaml --top_entropy_quantile 0.1

Every flag of `ForkingGRPOConfig`, TRL's `ModelConfig` and `ScriptArguments` can stand in the file or on the command
line. Copy this file to train on other data or with other rewards: each part of the trainer below can be replaced.
`trl-forking grpo --config RECIPE` trains in the same way without a script.
"""

from trl import get_peft_config

from trl_forking import ForkingGRPOTrainer
from trl_forking.commands.eval_data import load_eval_dataset
from trl_forking.commands.math_loading import build_rewards, load_dataset, load_model, load_tokenizer
from trl_forking.commands.train_math import TRAINING_ERRORS, begin_run, end_run, read_run
from trl_forking.run.user_errors import exit_on_user_error


def main(args: list[str] | None = None) -> ForkingGRPOTrainer | None:
    run = read_run(args)  # flags and YAML, checked before anything is loaded
    if run is None:  # --dry_run has printed the settings
        return None
    script_args, training_args, model_args = run.arguments

    with exit_on_user_error(run.debug):  # a mistake is one sentence, without a traceback
        tokenizer = load_tokenizer(script_args, training_args, model_args)
        trainer = ForkingGRPOTrainer(
            args=training_args,  # a ForkingGRPOConfig
            reward_funcs=build_rewards(script_args, training_args),  # functions of TRL's form
            train_dataset=load_dataset(*run.arguments, tokenizer),  # columns: prompt and solution
            eval_dataset=load_eval_dataset(*run.arguments, tokenizer),  # None without eval_strategy
            processing_class=tokenizer,
            peft_config=get_peft_config(model_args),  # None without --use_peft
            **load_model(script_args.gguf_file, training_args, model_args),
        )

    begin_run(run, trainer)  # writes the settings into the folder of the run
    with exit_on_user_error(run.debug, TRAINING_ERRORS):
        trainer.train(resume_from_checkpoint=run.checkpoint)
        trainer.save_model(training_args.output_dir)
    end_run(trainer)  # says what the run shows, and writes verdict.json
    return trainer


if __name__ == "__main__":
    main()
