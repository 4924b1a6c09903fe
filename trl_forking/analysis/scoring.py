"""Entropies, log-probabilities and alternatives of given answers, with the logits of only a few positions in memory.

The model runs once over prompt and answer, and a hook on its backbone takes the hidden states. Then the model runs on a
single token for each chunk of positions, and the hook replaces the hidden state of this token by those of the chunk. So
everything after the backbone (projection, bias, scale, soft-capping) is the model's own code, for any architecture. A
key-value cache would be exact for attention only: recurrent and linear layers read a cache one token at a time.

The padding is on the right, where no token of a causal model sees it. A batch therefore changes only the last bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..run.model_parts import find_backbone, get_causal_model
from ..update.positions import depends_on_length


# Numbers in a chunk of logits: 128 MiB in fp32. Up to four copies exist at a time.
_LOGITS_PER_CHUNK = 2**25
# Tokens, with padding, that run through the backbone at once. A longer answer runs alone.
_TOKENS_PER_BATCH = 2**13


@dataclass(frozen=True, eq=False)
class TokenScores:
    """
    Scores of one answer under a model, with `T` tokens and `K` alternatives at each of them.

    Args:
        entropies (`np.ndarray` of shape `(T,)`, float32):
            Entropies in nats.
        logprobs (`np.ndarray` of shape `(T,)`, float32):
            Log-probability of the drawn token.
        top_ids (`np.ndarray` of shape `(T, K)`, int64):
            Most probable tokens, the most probable first.
        top_logprobs (`np.ndarray` of shape `(T, K)`, float32):
            Their log-probabilities.
        sum_sq_probs (`np.ndarray` of shape `(T,)`, float32):
            Sum of the squared probabilities of the vocabulary.
    """

    entropies: np.ndarray
    logprobs: np.ndarray
    top_ids: np.ndarray
    top_logprobs: np.ndarray
    sum_sq_probs: np.ndarray


def compute_token_scores(
    model: Any,
    prompt_ids: Sequence[Sequence[int]],
    completion_ids: Sequence[Sequence[int]],
    temperature: float = 1.0,
    top_alternatives: int = 0,
) -> list[TokenScores]:
    r"""
    Compute the entropy at every token of given answers, and the log-probabilities of the token and its alternatives.

    \\( H_t = -\sum_j p_{t,j} \log p_{t,j}, \; p_t = \mathrm{softmax}(z_t / T) \\) over the whole vocabulary. The function
    computes it in fp32, whatever type the logits have, and without dropout.

    Source: section 3 of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Causal language model.
        prompt_ids (`Sequence[Sequence[int]]`):
            Tokens of the prompt of each answer, without padding. Each prompt has at least one token.
        completion_ids (`Sequence[Sequence[int]]`):
            Tokens of each answer, without padding. An answer may have no tokens.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature of the softmax, \\( T \\).
        top_alternatives (`int`, *optional*, defaults to `0`):
            Number of most probable tokens to return, \\( K \\); at most the whole vocabulary.

    Returns:
        `list[TokenScores]`: the scores of each answer, in the order of the answers.

    Raises:
        `ValueError`: if a prompt is empty, the temperature is not positive, an entropy is NaN, or the model does not give
            access to the hidden states of its backbone.

    Example:
    ```python
    >>> from trl_forking.analysis import compute_token_scores
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> tokenizer = load_countdown_tokenizer()
    >>> prompt, answer = (tokenizer(text)["input_ids"] for text in ("nums 3 5 2 goal 16 :", "3 * 5 = 15"))
    >>> (scores,) = compute_token_scores(load_countdown_model(), [prompt], [answer], top_alternatives=1)
    >>> bool(scores.entropies[0] > 0.5), bool(scores.entropies[3] < 0.1)  # which number to begin with; =
    (True, True)
    ```
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, but it is {temperature}: an argmax has no entropy.")
    for index, prompt in enumerate(prompt_ids):
        if not len(prompt):
            raise ValueError(
                f"Prompt {index} has no tokens, so the first token of its answer has no distribution: give at least one token."
            )
    scores: dict[int, TokenScores] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in _make_batches(model, prompt_ids, completion_ids):
                prompts = [list(prompt_ids[index]) for index in batch]
                answers = [list(completion_ids[index]) for index in batch]
                scored = _score_batch(model, prompts, answers, temperature, top_alternatives)
                scores |= dict(zip(batch, scored, strict=True))
    finally:
        model.train(was_training)
    for index, score in sorted(scores.items()):
        if np.isnan(score.entropies).any():
            position = int(np.isnan(score.entropies).argmax())
            raise ValueError(
                f"The entropy of answer {index}, position {position} is NaN, because the model's logits are NaN."
            )
    return [scores[index] for index in range(len(completion_ids))]


def _make_batches(
    model: Any, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[int]]
) -> Iterator[list[int]]:
    """Put answers of similar length together, as many as fit."""
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompt_ids, completion_ids, strict=True)]
    # The scores of such a model depend on the longest answer of the batch.
    one_by_one = depends_on_length(get_causal_model(model).config)
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (one_by_one or lengths[batch[0]] * (len(batch) + 1) > _TOKENS_PER_BATCH):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class _HiddenStates:
    """Takes the hidden states out of a forward call, or puts others in their place."""

    def __init__(self) -> None:
        self.taken: torch.Tensor | None = None
        self.given: torch.Tensor | None = None

    def exchange(self, module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self.given is None:
            self.taken = output.last_hidden_state
            output.last_hidden_state = self.taken[
                :1, :1
            ]  # the head projects one position: for all of them the memory would not suffice
        else:
            output.last_hidden_state = self.given
        return output


def _score_batch(
    model: Any, prompts: list[list[int]], answers: list[list[int]], temperature: float, top_alternatives: int
) -> list[TokenScores]:
    rows = [torch.tensor(prompt + answer) for prompt, answer in zip(prompts, answers, strict=True)]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)  # (B, S)
    # The token at column s is predicted at column s - 1.
    places = [
        (row, len(prompt) + position - 1)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        for position in range(len(answer))
    ]
    drawn = torch.tensor([token for answer in answers for token in answer])  # (N,)
    states, backbone = _HiddenStates(), _find_backbone(model)
    hook = backbone.register_forward_hook(states.exchange)
    try:
        chunks = list(_score_chunks(model, states, input_ids, places, drawn, temperature, top_alternatives))
    finally:
        hook.remove()
    sizes = [len(answer) for answer in answers]
    columns = [torch.cat(column).split(sizes) for column in zip(*chunks, strict=True)]
    return [TokenScores(*(values.numpy() for values in answer)) for answer in zip(*columns, strict=True)]


def _find_backbone(model: Any) -> torch.nn.Module:
    causal_model = get_causal_model(model)
    backbone = find_backbone(causal_model)
    if backbone is causal_model:
        raise ValueError(
            f"{type(causal_model).__name__} has no base model that returns hidden states: it cannot be scored."
        )
    return backbone


def _score_chunks(
    model: Any,
    states: _HiddenStates,
    input_ids: torch.Tensor,
    places: list[tuple[int, int]],
    drawn: torch.Tensor,
    temperature: float,
    top_alternatives: int,
) -> Iterator[tuple[torch.Tensor, ...]]:
    # The mask is all ones: only padding sees the padding on the right.
    first = model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False)
    if states.taken is None or states.taken.shape[:2] != input_ids.shape:
        raise ValueError(f"{type(model).__name__} returns no hidden state for each token: it cannot be scored.")
    rows, columns = torch.tensor(places, dtype=torch.long).view(-1, 2).T.to(states.taken.device)
    hidden = states.taken[rows, columns]  # (N, hidden)
    states.taken = None
    size = max(1, _LOGITS_PER_CHUNK // first.logits.size(-1))
    token = input_ids[:1, :1]
    for start in range(0, max(1, len(hidden)), size):  # one chunk even without tokens, so that there are columns
        states.given = hidden[start : start + size].unsqueeze(0)
        logits = model(input_ids=token, attention_mask=torch.ones_like(token), use_cache=False).logits.squeeze(0)
        scores = _score_logits(logits, drawn[start : start + size].to(logits.device), temperature, top_alternatives)
        yield tuple(score.cpu() for score in scores)


def _score_logits(
    logits: torch.Tensor, drawn: torch.Tensor, temperature: float, top_alternatives: int
) -> tuple[torch.Tensor, ...]:
    """Compute the columns of [`TokenScores`] for (N, V) logits."""
    logprobs = logits.float().div_(temperature)
    # The largest logit becomes 0: fp32 is most precise near 0, where the probable tokens then are.
    logprobs -= logprobs.amax(-1, keepdim=True)
    logprobs -= logprobs.logsumexp(-1, keepdim=True)
    top_logprobs, top_ids = logprobs.topk(min(top_alternatives, logprobs.size(-1)))
    drawn_logprobs = logprobs.gather(1, drawn.unsqueeze(1)).squeeze(1)
    # Not by selection.entropies.compute_entropies: the log-probabilities are here already, a second softmax would take the
    # memory of another chunk, and near entropy 0 this sum is more precise than one over probabilities in fp32.
    # A token with probability 0 adds nothing: 0 times a finite number, and not 0 times infinity.
    logprobs.clamp_(min=torch.finfo(torch.float32).min, max=0.0)
    probabilities = logprobs.exp()
    # A product of vectors: no square of all probabilities is in memory.
    sum_sq_probs = torch.linalg.vecdot(probabilities, probabilities)
    entropies = -probabilities.mul_(logprobs).sum(-1)
    return entropies, drawn_logprobs, top_ids, top_logprobs, sum_sq_probs
