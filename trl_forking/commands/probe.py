"""A few prompts answered before a run, to see how many groups of answers would have equal rewards."""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from trl import ModelConfig

from .. import countdown
from ..analysis.models import load_model
from ..decoding.sampling import TransformersSampler, find_eos_token_ids
from ..decoding.settings import SamplingSettings
from ..evaluation.intervals import compute_share_interval
from ..forking_grpo_config import ForkingGRPOConfig
from ..rollout.groups import find_informative_groups
from ..run.user_errors import UserError
from ..writing.numbers import format_percent
from .arguments import BUILT_IN
from .math_arguments import MathArguments
from .math_loading import build_rewards


if TYPE_CHECKING:
    from datasets import Dataset

_MOST_ANSWERS = 64  # of a forward pass


class Probe(NamedTuple):
    """
    What a probe found.

    Attributes:
        num_prompts (`int`): prompts that were answered.
        num_equal (`int`): groups whose rewards are all equal.
        mean_reward (`float`): mean reward of all answers.
        truncated_share (`float`): share of answers that were cut at `max_completion_length`.
        mean_length (`float`): mean number of tokens of an answer.

    Example:
    ```python
    >>> Probe(16, 4, 0.25, 0.0, 30.0).num_equal
    4
    ```
    """

    num_prompts: int
    num_equal: int
    mean_reward: float
    truncated_share: float
    mean_length: float


def probe_groups(
    script_args: MathArguments,
    training_args: ForkingGRPOConfig,
    model_args: ModelConfig,
    tokenizer: Any,
    dataset: "Dataset",
    num_prompts: int,
) -> Probe:
    """
    Let the model answer the first prompts of a data set, and judge the answers as the run would.

    Args:
        script_args ([`MathArguments`]):
            Problems and reward.
        training_args ([`ForkingGRPOConfig`]):
            How answers are sampled.
        model_args ([`~trl.ModelConfig`]):
            The model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        dataset ([`~datasets.Dataset`]):
            The problems.
        num_prompts (`int`):
            Number of prompts to answer.

    Returns:
        [`Probe`]

    Raises:
        `ValueError`: if the model cannot be loaded.
    """
    rows = dataset.shuffle(seed=training_args.seed).select(range(min(num_prompts, len(dataset))))
    model = _load(script_args, model_args)
    settings = SamplingSettings(
        training_args.num_generations,
        int(training_args.max_completion_length or 1),
        training_args.temperature,
        training_args.top_p,
        training_args.top_k,
    )
    prompts = [_encode(prompt, tokenizer, training_args) for prompt in rows["prompt"]]
    at_once = max(1, _MOST_ANSWERS // settings.num_generations)
    groups = TransformersSampler(model, tokenizer, settings).sample(prompts, training_args.seed, at_once)
    answers = [answer for group in groups for answer in group]
    rewards = _judge(script_args, training_args, tokenizer, rows, answers)
    weights = torch.tensor(training_args.reward_weights or [1.0] * rewards.shape[1])
    informative = find_informative_groups(rewards, weights, settings.num_generations)
    ends = set(find_eos_token_ids(model, tokenizer))
    return Probe(
        num_prompts=len(rows),
        num_equal=int((~informative).sum()),
        mean_reward=float((rewards * weights).nansum(1).mean()),
        truncated_share=sum(not answer or answer[-1] not in ends for answer in answers) / len(answers),
        mean_length=sum(map(len, answers)) / len(answers),
    )


def _load(script_args: MathArguments, model_args: ModelConfig) -> Any:
    if model_args.model_name_or_path == BUILT_IN:
        return countdown.load_countdown_model()
    if script_args.gguf_file:
        return load_model(f"{model_args.model_name_or_path}/{script_args.gguf_file}")[0]
    return load_model(str(model_args.model_name_or_path), trust_remote_code=model_args.trust_remote_code)[0]


def _encode(prompt: Any, tokenizer: Any, args: ForkingGRPOConfig) -> list[int]:
    if isinstance(prompt, str):
        return tokenizer(text=prompt)["input_ids"]
    more = args.chat_template_kwargs or {}
    return tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **more)[
        "input_ids"
    ]


def _judge(
    script_args: MathArguments, args: ForkingGRPOConfig, tokenizer: Any, rows: "Dataset", answers: list[list[int]]
) -> torch.Tensor:
    """Call the rewards as TRL does, and return a row for each answer."""
    size = int(args.num_generations or 1)
    columns = {name: [value for value in rows[name] for _ in range(size)] for name in rows.column_names}
    prompts = columns.pop("prompt")
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    is_chat = not isinstance(prompts[0], str)
    completions = [[{"role": "assistant", "content": text}] for text in texts] if is_chat else texts
    values = []
    for function in build_rewards(script_args, args):
        found = function(prompts=prompts, completions=completions, completion_ids=answers, **columns)
        values.append([float("nan") if value is None else float(value) for value in found])
    if not values:
        raise UserError("There is no reward to judge the answers with.")
    return torch.tensor(values).T


def describe_probe(probe: Probe, is_dynamic: bool) -> str:
    """
    Say what a probe means for a run.

    Args:
        probe ([`Probe`]):
            What it found.
        is_dynamic (`bool`):
            Whether the run replaces groups with equal rewards.

    Returns:
        `str`: one or two sentences.

    Example:
    ```python
    >>> describe_probe(Probe(16, 4, 0.25, 0.0, 30.0), is_dynamic=False)
    '4 of 16 groups have equal rewards (25 %, 95 % interval 10 % to 49 %); the mean reward is 0.25, answers have 30 tokens on average and 0 % of them are cut.'
    ```
    """
    share = probe.num_equal / probe.num_prompts
    low, high = compute_share_interval(probe.num_equal, probe.num_prompts)
    text = (
        f"{probe.num_equal} of {probe.num_prompts} groups have equal rewards ({format_percent(share, digits=2)}, 95 % interval "
        f"{format_percent(low, digits=2)} to {format_percent(high, digits=2)}); the mean reward is {probe.mean_reward:.2f}, "
        f"answers have {probe.mean_length:.0f} tokens on average and {format_percent(probe.truncated_share, digits=2)} of them are cut."
    )
    if share == 1:
        return (
            f"{text} Training would learn nothing from them: choose other prompts or a longer max_completion_length."
        )
    if share >= 0.5 and not is_dynamic:
        return f"{text} Set dynamic_sampling=True, or raise num_generations."
    return text
