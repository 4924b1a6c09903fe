"""Checks of a batch: prompts that no tokenizer can encode, and answers without a token."""

from collections.abc import Callable, Sequence
from typing import Any

from trl import GRPOTrainer

from .characters import check_characters
from .reward_checks import shorten


def check_answers(completion_ids: Sequence[Sequence[int]], prompts: Sequence[Any], source: str) -> None:
    """
    Check that every answer has a token. TRL looks at the last one of each.

    Args:
        completion_ids (`Sequence[Sequence[int]]`):
            Tokens of the answers.
        prompts (`Sequence`):
            Their prompts.
        source (`str`):
            What wrote the answers, for the message.

    Raises:
        `ValueError`: if an answer is empty; the message names it and its prompt.

    Example:
    ```python
    >>> from trl_forking.run.prompt_checks import check_answers
    >>> check_answers([[5, 1], []], ["1 + 1?", "2 + 2?"], "rollout_func")
    Traceback (most recent call last):
        ...
    ValueError: rollout_func returned an answer without a token (answer 1, to the prompt '2 + 2?'): return one at least, ...
    ```
    """
    empty = next((number for number, ids in enumerate(completion_ids) if len(ids) == 0), None)
    if empty is not None:
        place = f", to the prompt {shorten(prompts[empty])}" if empty < len(prompts) else ""
        raise ValueError(
            f"{source} returned an answer without a token (answer {empty}{place}): return one at least, such as the token "
            "that ends an answer."
        )


class PromptCheckMixin(GRPOTrainer):
    """Checks the prompts of a batch before they are encoded, and that each gets an answer with a token."""

    rollout_func: Callable[..., Any] | None

    def _generate(self, prompts):
        check_characters(prompts)  # a data set of Arrow can't hold half a character, a stream can
        rollout_func = self.rollout_func
        if rollout_func is None:
            return super()._generate(prompts)

        def roll_out_and_check(prompts: list[Any], trainer: Any) -> dict[str, Any]:
            rollout = rollout_func(prompts, trainer)
            check_answers(rollout.get("completion_ids", ()), prompts, "rollout_func")
            return rollout

        self.rollout_func = roll_out_and_check
        try:
            return super()._generate(prompts)
        finally:
            self.rollout_func = rollout_func

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        completion_ids, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        if not self.tools:  # with tools, a later turn may add nothing
            check_answers(completion_ids, prompt_ids, "vLLM" if self.use_vllm else "Generation")
        return completion_ids, logprobs
