"""What the trainer of a run on math problems is made of: tokenizer, problems, rewards and model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig
from trl import ModelConfig, get_quantization_config
from trl.rewards import get_soft_overlong_punishment

from .. import countdown
from ..analysis.callback import ForkReportCallback
from ..analysis.models import naming_model
from ..data.problems import build_dataset, drop_long_prompts, find_short_prompts, read_problems
from ..data.templates import END_OF_TEXT
from ..forking_grpo_config import ForkingGRPOConfig
from ..forking_grpo_trainer import ForkingGRPOTrainer
from ..rewards.math_reward import math_reward
from ..run.lengths import check_lengths, find_context_length
from .arguments import BUILT_IN
from .math_arguments import MathArguments


if TYPE_CHECKING:
    from datasets import Dataset

_CONTEXT_FIELDS = ("max_position_embeddings", "rope_scaling", "rope_parameters")


def load_tokenizer(script_args: MathArguments, training_args: ForkingGRPOConfig, model_args: ModelConfig) -> Any:
    """
    Load the tokenizer of the model.

    With the paper's prompt, an answer ends at the end of the text. The tokenizers of Qwen3's base models name the end
    of a turn instead, so this function changes the end token, and tells vLLM about it through `training_args`.

    Args:
        script_args ([`MathArguments`]):
            Prompt template and GGUF file.
        training_args ([`ForkingGRPOConfig`]):
            Settings of the trainer; its `generation_kwargs` may be changed.
        model_args ([`~trl.ModelConfig`]):
            The model.

    Returns:
        [`~transformers.PreTrainedTokenizerBase`]: the tokenizer.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> from trl_forking.commands.math_loading import load_tokenizer
    >>> tokenizer = load_tokenizer(*make_parser().parse_args_and_config(["--model_name_or_path", "countdown"]))
    >>> tokenizer.padding_side
    'left'
    ```
    """
    if model_args.model_name_or_path == BUILT_IN:
        return countdown.load_countdown_tokenizer()
    gguf_file = script_args.gguf_file
    kwargs = {"gguf_file": gguf_file} if gguf_file else {"revision": model_args.model_revision}
    kwargs |= {"padding_side": "left", "truncation_side": "left", "trust_remote_code": training_args.trust_remote_code}
    with naming_model(str(model_args.model_name_or_path)):
        tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path, **kwargs)
    if script_args.prompt_template == "paper" and END_OF_TEXT in tokenizer.get_vocab():
        tokenizer.eos_token = END_OF_TEXT
        if training_args.use_vllm:  # vLLM reads the tokenizer of the model, not this one
            stop = {"stop_token_ids": [tokenizer.eos_token_id]}
            training_args.generation_kwargs = stop | (training_args.generation_kwargs or {})
    return tokenizer


def load_dataset(
    script_args: MathArguments, training_args: ForkingGRPOConfig, model_args: ModelConfig, tokenizer: Any
) -> "Dataset":
    """
    Load the problems to train on, and check that each fits into the context of the model together with its answer.

    Args:
        script_args ([`MathArguments`]):
            Which problems, their prompt template, and the largest number of tokens of a prompt.
        training_args ([`ForkingGRPOConfig`]):
            The seed of the built-in task, and the largest number of tokens of an answer.
        model_args ([`~trl.ModelConfig`]):
            The model, whose config names its context.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model, which measures the prompts.

    Returns:
        [`~datasets.Dataset`]: problems with a column `prompt` and the columns that the reward reads.

    Raises:
        [`UserError`]: if there are no such problems, every prompt has more than `max_prompt_length` tokens, or a prompt and
            its answer do not fit into the context of the model.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> from trl_forking.commands.math_loading import load_dataset
    >>> arguments = make_parser().parse_args_and_config(["--dataset_name", "countdown"])
    >>> load_dataset(*arguments, tokenizer=None).column_names
    ['prompt', 'nums', 'goal']
    ```
    """
    if script_args.dataset_name == BUILT_IN:
        size = countdown.NUM_PROBLEMS["train"]
        dataset = countdown.make_countdown_dataset("train", size, training_args.seed)
        return drop_long_prompts(dataset, tokenizer, script_args.max_prompt_length)
    source = (script_args.dataset_name, script_args.dataset_config, script_args.dataset_train_split)
    problems = read_problems(*source, template=script_args.prompt_template)
    template_arguments, longest = training_args.chat_template_kwargs, script_args.max_prompt_length
    if longest is not None:
        prompts = [problem.prompt for problem in problems]
        problems = [problems[place] for place in find_short_prompts(prompts, tokenizer, longest, template_arguments)]
    places = [(problem.place, problem.prompt) for problem in problems]
    context = read_context_length(script_args.gguf_file, training_args, model_args)
    room = None if context is None else max(1, context - training_args.max_completion_length)
    remedy = f"leave out longer prompts with max_prompt_length {room}, or lower max_completion_length"
    check_lengths(places, tokenizer, training_args.max_completion_length, context, remedy, template_arguments)
    return build_dataset(problems)


def read_context_length(
    gguf_file: str | None, training_args: ForkingGRPOConfig, model_args: ModelConfig
) -> int | None:
    """
    Read how many tokens of prompt and answer the model can take, from its config and without its weights.

    Args:
        gguf_file (`str`, *optional*):
            A GGUF file in the folder of the model.
        training_args ([`ForkingGRPOConfig`]):
            Settings of the trainer. `model_init_kwargs` may change the config, and `vllm_max_model_length` is a limit too.
        model_args ([`~trl.ModelConfig`]):
            The model.

    Returns:
        `int` or `None`: number of tokens, `None` for no limit, or where the config can't be read. Then loading the model
        says why.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> from trl_forking.commands.math_loading import read_context_length
    >>> _, *arguments = make_parser().parse_args_and_config(["--model_name_or_path", "countdown"])
    >>> read_context_length(None, *arguments)
    128
    ```
    """
    name = model_args.model_name_or_path
    changes = {key: value for key, value in (training_args.model_init_kwargs or {}).items() if key in _CONTEXT_FIELDS}
    source = {"gguf_file": gguf_file} if gguf_file else {"revision": model_args.model_revision}
    try:
        config = AutoConfig.from_pretrained(
            countdown.ASSETS if name == BUILT_IN else name,
            trust_remote_code=training_args.trust_remote_code,
            **source,
            **changes,
        )
    except (OSError, ValueError, KeyError, ImportError):
        return training_args.vllm_max_model_length
    lengths = [find_context_length(config), training_args.vllm_max_model_length]
    return min((length for length in lengths if length is not None), default=None)


def build_rewards(script_args: MathArguments, training_args: ForkingGRPOConfig) -> list[Callable[..., Any]]:
    """
    Build the rewards: 1 for a right answer, and the paper's penalty for an answer that is nearly too long.

    Args:
        script_args ([`MathArguments`]):
            The problems, and how many tokens are penalized.
        training_args ([`ForkingGRPOConfig`]):
            The largest number of tokens of an answer.

    Returns:
        `list[Callable]`: two reward functions of TRL's form, which the trainer adds up.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.commands.math_arguments import MathArguments
    >>> from trl_forking.commands.math_loading import build_rewards
    >>> script_args = MathArguments(dataset_name="countdown", soft_overlong_cache=2)
    >>> _, penalize_length = build_rewards(script_args, ForkingGRPOConfig("runs/x", max_completion_length=4))
    >>> penalize_length(completion_ids=[[1, 2], [1, 2, 3], [1, 2, 3, 4]])
    [0.0, -0.5, -1.0]
    ```
    """
    check_answer = countdown.countdown_reward if script_args.dataset_name == BUILT_IN else math_reward
    overlong = get_soft_overlong_punishment(training_args.max_completion_length, script_args.soft_overlong_cache)
    return [check_answer, overlong]


def add_fork_pages(trainer: ForkingGRPOTrainer, every_n_steps: int | None) -> None:
    """
    Let a trainer write pages of its answers with their forks.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            The trainer.
        every_n_steps (`int`, *optional*):
            Steps from one page to the next, 0 for no page, `None` for one page at the last step.

    Raises:
        `ValueError`: if pages are asked for, and the tokens are selected after the answers are recorded.

    Example:
    ```python
    >>> from trl_forking.commands.math_loading import add_fork_pages
    >>> add_fork_pages(None, every_n_steps=0)
    ```
    """
    selects_later = (
        every_n_steps is None and trainer.args.selection_scope == "micro_batch" and trainer.args.drops_tokens
    )
    if every_n_steps != 0 and not selects_later:
        trainer.add_callback(ForkReportCallback(trainer, every_n_steps))


def load_model(gguf_file: str | None, training_args: ForkingGRPOConfig, model_args: ModelConfig) -> dict[str, Any]:
    """
    Load the model where the trainer can't do it itself: the built-in model, and a GGUF file.

    Args:
        gguf_file (`str`, *optional*):
            A GGUF file in the folder of the model.
        training_args ([`ForkingGRPOConfig`]):
            Settings of the trainer. Their `model_init_kwargs` are completed where the trainer loads the model.
        model_args ([`~trl.ModelConfig`]):
            The model.

    Returns:
        `dict[str, Any]`: the arguments `model` and, where it applies, `quantization_config` of the trainer.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> from trl_forking.commands.math_loading import load_model
    >>> _, training_args, model_args = make_parser().parse_args_and_config(["--model_name_or_path", "Qwen/Qwen3-0.6B"])
    >>> load_model(None, training_args, model_args)["model"]
    'Qwen/Qwen3-0.6B'
    ```
    """
    name, kwargs = model_args.model_name_or_path, {"dtype": model_args.dtype, "revision": model_args.model_revision}
    if name == BUILT_IN:
        return {"model": countdown.load_countdown_model()}
    if gguf_file:  # packed weights can be neither trained nor saved
        kwargs |= {"gguf_file": gguf_file, "quantization_config": GgufConfig(dequantize=True)}
        return {"model": AutoModelForCausalLM.from_pretrained(name, **kwargs)}
    kwargs |= {"attn_implementation": model_args.attn_implementation} | (training_args.model_init_kwargs or {})
    training_args.model_init_kwargs = kwargs
    return {"model": name, "quantization_config": get_quantization_config(model_args)}
