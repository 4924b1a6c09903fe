"""Answers that one model wrote, scored by another model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .records import ScoredAnswer
from .scoring import compute_token_scores


if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Answers in a batch of the progress bar. Their scores are short: after an interruption they are computed again.
_ANSWERS_PER_BATCH = 64


def score_answers(
    model: "PreTrainedModel", records: Sequence[ScoredAnswer], temperature: float, name: str
) -> list[np.ndarray]:
    """
    Score answers with another model than the one that wrote them.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model that scores.
        records (sequence of [`ScoredAnswer`]):
            Answers with the tokens of their prompts.
        temperature (`float`):
            Temperature of the entropies.
        name (`str`):
            Name of the model, for the progress bar and the message.

    Returns:
        `list[np.ndarray]`: entropies of each answer `(T_i,)`, in nats.

    Raises:
        `ValueError`: if the model has a smaller vocabulary than the model that wrote the answers.

    Example:
    ```python
    >>> from trl_forking.analysis.rescoring import score_answers
    >>> from trl_forking.countdown import load_countdown_model
    >>> score_answers(load_countdown_model(), [], temperature=1.0, name="countdown")
    []
    ```
    """
    from tqdm.auto import tqdm

    largest = max((int(max(record.token_ids, default=0)) for record in records), default=0)
    if largest >= model.get_input_embeddings().num_embeddings:
        raise ValueError(f"{name} has another vocabulary than the last checkpoint: it cannot score its answers.")
    entropies: list[np.ndarray] = []
    for start in tqdm(range(0, len(records), _ANSWERS_PER_BATCH), desc=f"scoring with {name}", unit="batch"):
        part = records[start : start + _ANSWERS_PER_BATCH]
        prompts = [[] if record.prompt_ids is None else record.prompt_ids.tolist() for record in part]
        scores = compute_token_scores(model, prompts, [record.token_ids.tolist() for record in part], temperature)
        entropies += [score.entropies for score in scores]
    return entropies
