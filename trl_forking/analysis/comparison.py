"""How far the forks move in training: a base model and checkpoints score the same answers. Pure functions.

The protocol is the paper's: the last checkpoint writes the answers, and every model scores the tokens of these answers.
Each function takes, for each model, the entropies of every answer in nats. The order of the answers is the same for all.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..selection.metrics import PERCENTILES
from .forks import join_entropies, rank_tokens, select_forks
from .statistics import compute_percentiles, to_json_number


def check_same_tokens(entropies_a: Sequence[np.ndarray], entropies_b: Sequence[np.ndarray]) -> None:
    """
    Check that two lists have the same number of answers, and each answer the same number of tokens in both.

    Raises:
        `ValueError`: if not. The message names the first answer that differs.

    Example:
    ```python
    >>> check_same_tokens([np.zeros(2)], [np.zeros(3)])
    Traceback (most recent call last):
    ValueError: Answer 0 has 2 tokens in one list and 3 in the other: score the same answers with every model.
    ```
    """
    advice = "score the same answers with every model."
    if len(entropies_a) != len(entropies_b):
        raise ValueError(f"One list has {len(entropies_a)} answers and the other {len(entropies_b)}: {advice}")
    for answer, (a, b) in enumerate(zip(entropies_a, entropies_b, strict=True)):
        if len(a) != len(b):
            raise ValueError(f"Answer {answer} has {len(a)} tokens in one list and {len(b)} in the other: {advice}")


def compute_overlap(
    entropies_a: Sequence[np.ndarray], entropies_b: Sequence[np.ndarray], top_entropy_quantile: float = 0.2
) -> float:
    r"""
    Compute the share of one model's fork positions that are also forks of another model, \\( |F_a \cap F_b| / |F_a| \\).

    Both models have exactly \\( \lceil \rho N \rceil \\) forks, so the share is the same for both. The overlap of two
    unrelated models is \\( \rho \\) on average.

    Source: the table of overlaps in [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        entropies_a (sequence of `np.ndarray` of shape `(T_i,)`):
            Entropies of each answer under one model, in nats.
        entropies_b (sequence of `np.ndarray` of shape `(T_i,)`):
            Entropies of the same answers under the other model.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\), a fraction in (0, 1].

    Returns:
        `float`: a fraction, NaN if there are no tokens.

    Raises:
        `ValueError`: if the answers differ in number or length, the share is not in (0, 1] or an entropy is NaN.

    Example:
    ```python
    >>> compute_overlap([np.array([0.0, 2.0, 1.0, 0.0])], [np.array([0.0, 2.0, 0.0, 1.0])], top_entropy_quantile=0.5)
    0.5
    ```
    """
    check_same_tokens(entropies_a, entropies_b)
    forks_a, forks_b = (select_forks(entropies, top_entropy_quantile) for entropies in (entropies_a, entropies_b))
    num_forks = sum(int(forks.sum()) for forks in forks_a)
    num_both = sum(int((a & b).sum()) for a, b in zip(forks_a, forks_b, strict=True))
    return num_both / num_forks if num_forks else math.nan


def compute_change_by_bin(
    base_entropies: Sequence[np.ndarray], entropies: Sequence[np.ndarray], bin_width: float = 0.05
) -> list[dict[str, Any]]:
    r"""
    Compute the mean change of entropy in bins of base entropy that hold equally many tokens each.

    The function sorts the tokens by base entropy, the lowest first, and cuts them into \\( 1 / \text{bin\_width} \\) bins.
    The rule for ties orders equal entropies, so that tokens with entropy zero come from all answers alike.

    Source: the figure of changes by 5 %-bins in [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        base_entropies (sequence of `np.ndarray` of shape `(T_i,)`):
            Entropies of each answer under the base model, in nats.
        entropies (sequence of `np.ndarray` of shape `(T_i,)`):
            Entropies of the same answers under a checkpoint.
        bin_width (`float`, *optional*, defaults to `0.05`):
            Share of the tokens in a bin: 1 divided by a whole number.

    Returns:
        `list[dict]`: for each bin, `from` and `to` (fractions of the tokens), `num_tokens`, `base_entropy` and `change`
        (means in nats, `None` for a bin without tokens).

    Raises:
        `ValueError`: if the answers differ in number or length, 1 is no multiple of the width, or an entropy is NaN.

    Example:
    ```python
    >>> base, checkpoint = [np.array([0.0, 1.0, 0.0, 2.0])], [np.array([0.0, 1.5, 0.25, 2.0])]
    >>> [row["change"] for row in compute_change_by_bin(base, checkpoint, bin_width=0.5)]
    [0.125, 0.25]
    ```
    """
    check_same_tokens(base_entropies, entropies)
    num_bins = round(1 / bin_width) if 0 < bin_width <= 1 else 0
    if not math.isclose(num_bins * bin_width, 1):
        raise ValueError(f"bin_width must be 1 divided by a whole number, such as 0.05, but it is {bin_width}.")
    base = join_entropies(base_entropies)
    change = join_entropies(entropies) - base
    ranks = np.concatenate([np.zeros(0, dtype=np.int64), *rank_tokens(base_entropies)])
    bins = (len(base) - 1 - ranks) * num_bins // max(len(base), 1)
    return [
        {
            "from": index / num_bins,
            "to": (index + 1) / num_bins,
            "num_tokens": int((bins == index).sum()),
            "base_entropy": _compute_mean(base[bins == index]),
            "change": _compute_mean(change[bins == index]),
        }
        for index in range(num_bins)
    ]


def _compute_mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def compute_percentile_trace(
    checkpoints: Sequence[Sequence[np.ndarray]], percentiles: Sequence[float] = PERCENTILES
) -> np.ndarray:
    """
    Compute the percentiles of entropy under each of several models.

    Args:
        checkpoints (sequence of sequences of `np.ndarray` of shape `(T_i,)`):
            For each model the entropies of each answer, in nats.
        percentiles (sequence of `float`, *optional*, defaults to `(50, 80, 95, 99)`):
            Percentiles from 0 to 100, computed by nearest rank.

    Returns:
        `np.ndarray` of shape `(C, P)`: the percentiles of each of `C` models in nats, NaN if there are no tokens.

    Raises:
        `ValueError`: if an entropy is NaN.

    Example:
    ```python
    >>> compute_percentile_trace([[np.array([0.0, 1.0])], [np.array([0.5, 3.0])]], [50, 99]).tolist()
    [[0.0, 1.0], [0.5, 3.0]]
    ```
    """
    rows = [compute_percentiles(join_entropies(entropies), percentiles) for entropies in checkpoints]
    return np.array(rows).reshape(len(checkpoints), len(percentiles))


def build_comparison(
    base: Sequence[np.ndarray],
    checkpoints: Mapping[str, Sequence[np.ndarray]],
    top_entropy_quantile: float = 0.2,
    base_name: str = "base",
) -> dict[str, Any]:
    r"""
    Build the tables that `compare` shows, ready for JSON.

    Args:
        base (sequence of `np.ndarray` of shape `(T_i,)`):
            Entropies of each answer under the base model, in nats.
        checkpoints (mapping of `str` to such sequences):
            Entropies of the same answers under each checkpoint, by its name, in the order of training.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\), a fraction in (0, 1].
        base_name (`str`, *optional*, defaults to `"base"`):
            Name of the base model in the tables.

    Returns:
        `dict`: `top_entropy_quantile`, `num_answers`, `num_tokens`, and three tables, each a list of rows:

        - `overlap`: for each model, `checkpoint` (its name), `to_first` and `to_last` (overlap of its forks with those of
          the base model and of the last checkpoint), `threshold` and `mean_entropy` in nats
        - `percentiles`: for each model, `checkpoint` and the percentiles in nats, with keys such as `p50`
        - `change_by_bin`: the rows of [`compute_change_by_bin`], with one column for the change under each checkpoint

    Raises:
        `ValueError`: if there is no checkpoint, a checkpoint has the name of the base model or of a column, or the answers
            differ.

    Example:
    ```python
    >>> comparison = build_comparison([np.array([0.0, 1.0])], {"step 10": [np.array([2.0, 0.5])]}, 0.5)
    >>> [(row["checkpoint"], row["to_first"]) for row in comparison["overlap"]]
    [('base', 1.0), ('step 10', 0.0)]
    ```
    """
    check_names(base_name, checkpoints)
    models = {base_name: base, **checkpoints}
    last = list(models.values())[-1]
    overlap = [
        {
            "checkpoint": name,
            "to_first": to_json_number(compute_overlap(entropies, base, top_entropy_quantile)),
            "to_last": to_json_number(compute_overlap(entropies, last, top_entropy_quantile)),
            "threshold": _compute_threshold(entropies, top_entropy_quantile),
            "mean_entropy": _compute_mean(join_entropies(entropies)),
        }
        for name, entropies in models.items()
    ]
    traces = zip(models, compute_percentile_trace(list(models.values())), strict=True)
    return {
        "top_entropy_quantile": top_entropy_quantile,
        "num_answers": len(base),
        "num_tokens": sum(len(entropies) for entropies in base),
        "overlap": overlap,
        "percentiles": [
            {
                "checkpoint": name,
                **{f"p{p}": to_json_number(nats) for p, nats in zip(PERCENTILES, values, strict=True)},
            }
            for name, values in traces
        ],
        "change_by_bin": _tabulate_changes(base, checkpoints),
    }


_BIN_COLUMNS = ("from", "to", "num_tokens", "base_entropy")


def check_names(base_name: str, checkpoints: Iterable[str]) -> None:
    """
    Check that the names of models can be columns of a table.

    Raises:
        `ValueError`: if there is no checkpoint, or a checkpoint has the name of the base model or of a column.

    Example:
    ```python
    >>> check_names("base", ["step 10"])
    ```
    """
    checkpoints = list(checkpoints)
    if not checkpoints:
        raise ValueError("There is no checkpoint to compare the base model with: give at least one.")
    for name in checkpoints:
        if name in (base_name, *_BIN_COLUMNS):
            raise ValueError(
                f"A checkpoint cannot be called {name!r}, because a column of the tables has this name: give it another name."
            )


def _compute_threshold(entropies: Sequence[np.ndarray], top_entropy_quantile: float) -> float | None:
    forks = np.concatenate([np.zeros(0, dtype=bool), *select_forks(entropies, top_entropy_quantile)])
    return float(join_entropies(entropies)[forks].min()) if forks.any() else None


def _tabulate_changes(
    base: Sequence[np.ndarray], checkpoints: Mapping[str, Sequence[np.ndarray]]
) -> list[dict[str, Any]]:
    tables = {name: compute_change_by_bin(base, entropies) for name, entropies in checkpoints.items()}
    return [
        {column: rows[0][column] for column in _BIN_COLUMNS}
        | {name: row["change"] for name, row in zip(tables, rows, strict=True)}
        for rows in zip(*tables.values(), strict=True)
    ]
