"""The entropies that were seen while Transformers sampled, so that no other pass has to compute them again."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl import GRPOTrainer

from ..run.model_parts import get_causal_model, has_dropout
from ..selection.costly import compute_costly
from ..selection.entropies import compute_entropies


logger = logging.getLogger(__name__)

Generate = Callable[[list[Any]], tuple[Any, ...]]
"""TRL's `_generate`."""


class SampledEntropies:
    """
    What a forward hook on a causal model notes while `generate` runs: one entropy for each answer and each call.

    Call `t` sees the logits that token `t` is drawn from, before top-k, top-p and whatever else Transformers applies.
    Its last input is the token before. [`split`] compares these inputs with the answers, so that the entropies of a
    kind of generation in which calls and tokens do not correspond (beam search, assisted decoding) are never taken.

    Args:
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature that the logits are divided by.
        needs (`tuple[str]`, *optional*):
            Further statistics that a rule needs. Which token was drawn is seen in the call after, so that the logits of one
            call are kept.

    Example:
    ```python
    >>> import torch
    >>> from trl_forking.countdown import load_countdown_model
    >>> model, prompt = load_countdown_model(), torch.tensor([[5, 6]])
    >>> with record_entropies(model, temperature=1.0) as sampled:
    ...     ids = model.generate(prompt, max_new_tokens=3, do_sample=True, eos_token_id=None)
    >>> [entropies.shape for entropies in sampled.split(prompt.tolist(), ids[:, 2:].tolist())]
    [torch.Size([3])]
    ```
    """

    def __init__(self, temperature: float = 1.0, needs: tuple[str, ...] = ()):
        self.temperature, self.needs = temperature, needs
        self._costly: list[torch.Tensor] = []  # (B, K) for each call but the last
        self._pending: torch.Tensor | None = None  # (B, V) logits of the last call
        self._entropies: list[torch.Tensor] = []  # (B,) for each call
        self._last_inputs: list[torch.Tensor] = []
        self._is_complete = True

    def note(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        """Note the entropies of one call, as a forward hook does."""
        input_ids, logits = kwargs.get("input_ids"), getattr(output, "logits", None)
        if input_ids is None or logits is None:
            self._is_complete = False
            return
        # The last position alone: a prompt can have logits at all of its positions. A copy, or they would all stay.
        self._last_inputs.append(input_ids[:, -1].clone())
        last = logits[:, -1].float() / self.temperature
        self._entropies.append(compute_entropies(last).squeeze(1))
        if self.needs:
            if self._pending is not None and len(self._pending) == len(input_ids):
                self._costly.append(compute_costly(self._pending, input_ids[:, -1], self.needs))
            self._pending = last

    def split(self, prompt_ids: list[list[int]], completion_ids: list[list[int]]) -> list[torch.Tensor] | None:
        """
        Split the entropies by answer.

        Args:
            prompt_ids (`list[list[int]]`):
                Tokens of the prompt of each answer.
            completion_ids (`list[list[int]]`):
                Tokens of each answer.

        Returns:
            `list[torch.Tensor]` or `None`: an entropy for every token of each answer, in nats, on the CPU; `None` if
            the calls were not those that drew these tokens one by one. With further statistics each tensor has the shape
            `(T, 1 + K)`, and the entropies are its first column.
        """
        lengths = [len(ids) for ids in completion_ids]
        num_calls = max(lengths, default=0)
        calls = self._last_inputs[:num_calls]
        if not self._is_complete or len(calls) < num_calls or not num_calls:
            return None
        if any(inputs.shape != (len(lengths),) for inputs in calls):
            return None
        inputs = torch.stack(calls, dim=1).tolist()  # (B, T)
        for seen, prompt, ids in zip(inputs, prompt_ids, completion_ids, strict=True):
            if seen[: len(ids)] != [*prompt[-1:], *ids][: len(ids)]:
                return None
        entropies = torch.stack(self._entropies[:num_calls], dim=1).cpu()
        if self.needs:
            entropies = torch.cat([entropies.unsqueeze(2), self._finish(completion_ids, num_calls)], dim=2)
        return [row[:length].clone() for row, length in zip(entropies, lengths, strict=True)]

    def _finish(self, completion_ids: list[list[int]], num_calls: int) -> torch.Tensor:
        """Return the further statistics of all tokens, `(B, T, K)`. No call has seen the last token of the longest answers."""
        costly = self._costly[:num_calls]
        if len(costly) < num_calls and self._pending is not None:
            last = [ids[-1] if len(ids) == num_calls else 0 for ids in completion_ids]
            costly.append(compute_costly(self._pending, torch.tensor(last, device=self._pending.device), self.needs))
        return torch.stack(costly, dim=1).cpu()


@contextmanager
def record_entropies(
    model: torch.nn.Module, temperature: float, needs: tuple[str, ...] = ()
) -> Iterator[SampledEntropies]:
    """
    Note the entropies of what `generate` samples inside.

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model, unwrapped from DDP or DeepSpeed.
        temperature (`float`):
            Temperature that the logits are divided by.
        needs (`tuple[str]`, *optional*):
            Further statistics that a rule needs.

    Yields:
        [`SampledEntropies`]
    """
    sampled = SampledEntropies(temperature, needs)
    hook = get_causal_model(model).register_forward_hook(sampled.note, with_kwargs=True)
    try:
        yield sampled
    finally:
        hook.remove()


def pad_entropies(entropies: list[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """
    Make one tensor of the entropies of answers, with zeros where an answer has no token.

    Args:
        entropies (`list[torch.Tensor]`):
            Entropies of each answer, with further statistics beside them or not.
        like (`torch.Tensor` of shape `(B, T)`):
            Tokens of the answers, padded on the right.

    Returns:
        `torch.Tensor` of shape `(B, T)` or `(B, T, 1 + K)`, float32, on the device of `like`.

    Example:
    ```python
    >>> import torch
    >>> pad_entropies([torch.tensor([0.5]), torch.tensor([0.1, 0.2])], like=torch.tensor([[7, 0, 0], [7, 8, 0]]))
    tensor([[0.5000, 0.0000, 0.0000],
            [0.1000, 0.2000, 0.0000]])
    ```
    """
    padded = torch.zeros(*like.shape, *(entropies[0].shape[1:] if entropies else ()))
    for row, values in zip(padded, entropies, strict=True):
        row[: len(values)] = values
    return padded.to(like.device)


class SampledEntropiesMixin(GRPOTrainer):
    """Takes the entropies of a rollout while [`~trl.GRPOTrainer`] generates it with Transformers."""

    @property
    def uses_entropies(self) -> bool:
        """Whether the entropies of a whole rollout are needed, before it is trained."""
        return False

    @property
    def needs(self) -> tuple[str, ...]:
        """Statistics that the rule needs beside the entropies."""
        return ()

    @property
    def samples_entropies(self) -> bool:
        """Whether entropies are taken while answers are sampled: if Transformers writes each of them in one turn."""
        if not (self.args.entropy_from_generation and self.uses_entropies) or self.tools:
            return False
        if self.use_vllm or self.use_transformers_continuous_batching or self.rollout_func is not None:
            return False
        return not (self.model.training and has_dropout(self.model))  # the scoring pass runs without dropout

    def generate_with_entropies(
        self, generate: Generate, prompts: list[Any]
    ) -> tuple[tuple, list[torch.Tensor] | None]:
        """
        Generate, and take the entropies of the answers while they are sampled.

        Args:
            generate (`Callable`):
                TRL's `_generate`.
            prompts (`list`):
                Its argument.

        Returns:
            `tuple`: what `generate` returned, and the entropies of each answer, or `None` if they have to be computed.
        """
        if not self.samples_entropies:
            return generate(prompts), None
        model = self.accelerator.unwrap_model(self.model)
        with record_entropies(model, self.temperature, self.needs) as sampled:
            generated = generate(prompts)
        prompt_ids, completion_ids = generated[:2]
        return generated, sampled.split(prompt_ids, completion_ids)

    def join_entropies(self, entropies: list[torch.Tensor] | None, like: torch.Tensor) -> torch.Tensor | None:
        """
        Make one tensor of the entropies of a rollout, if every process has those of all its answers.

        Args:
            entropies (`list[torch.Tensor]` or `None`):
                Entropies of this process's answers.
            like (`torch.Tensor` of shape `(B, T)`):
                Tokens of the answers.

        Returns:
            `torch.Tensor` of shape `(B, T)`, or `(B, T, 1 + K)` with further statistics, or `None` if all processes have to
            compute the entropies.
        """
        if not self.samples_entropies:
            return None
        # A pass over the model is a collective call, so that all processes make it or none.
        is_missing = torch.tensor(int(entropies is None), device=like.device)
        num_missing = int(self.accelerator.reduce(is_missing, reduction="sum"))
        if entropies is None or num_missing:
            logger.debug("The entropies could not be taken while the answers were sampled: a scoring pass follows.")
            return None
        return pad_entropies(entropies, like)
