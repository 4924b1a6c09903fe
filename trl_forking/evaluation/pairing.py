"""Which runs of two groups belong together, and whether their evaluations can be compared."""

from collections.abc import Iterable
from typing import NamedTuple

from ..run.user_errors import UserError
from .evaluated_runs import EvaluatedRun, RunGroup


_EQUAL_SETTINGS = {
    "num_problems": "the number of problems",
    "revision": "the revision of the data set",
    "prompt_template": "prompt_template",
    "prompts": "the prompts",
    "verifier": "the verifier",
    "num_generations": "num_generations",
    "max_completion_length": "max_completion_length",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}
_NOTED_SETTINGS = ("engine", "dtype", "seed", "versions")


class RunPair(NamedTuple):
    """
    Two runs that are compared.

    Attributes:
        label (`str`): seed of the pair, for people.
        first, second ([`EvaluatedRun`]): a run of each group.
    """

    label: str
    first: EvaluatedRun
    second: EvaluatedRun


def pair_runs(first: RunGroup, second: RunGroup) -> tuple[list[RunPair], list[str]]:
    """
    Pair the runs of two groups by their seeds.

    Two single runs are a pair whatever their seeds are. A model that was not trained here, such as the base model, has no
    seed and is paired with every run of the other group.

    Args:
        first, second ([`RunGroup`]):
            The groups.

    Returns:
        `tuple[list[RunPair], list[str]]`: the pairs in the order of their seeds, and sentences about what did not pair.

    Raises:
        `ValueError`: if a seed occurs twice in a group, a seed is unknown, or no seed is in both groups.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.evaluation.evaluated_runs import EvaluatedRun, RunGroup
    >>> def build(name, seeds):
    ...     return RunGroup(name, [EvaluatedRun(f"{name}{s}", Path(name), {}, {"settings": {"seed": s}}) for s in seeds])
    >>> pairs, notes = pair_runs(build("a", [1, 2, 3]), build("b", [3, 1]))
    >>> [(pair.first.folder, pair.second.folder) for pair in pairs], notes
    ([('a1', 'b1'), ('a3', 'b3')], ['Seed 2 of a has no partner in b and has no part.'])
    ```
    """
    if len(first.runs) == len(second.runs) == 1:
        return _pair_single(first.runs[0], second.runs[0])
    for single, others, is_first in ((first, second, True), (second, first, False)):
        if len(single.runs) == 1 and single.runs[0].seed is None:
            known = _index_by_seed(others)
            order = [
                (seed, *((single.runs[0], run) if is_first else (run, single.runs[0]))) for seed, run in known.items()
            ]
            note = (
                f"{single.name} was not trained here and has no seed: it is compared with every run of {others.name}."
            )
            return [RunPair(f"seed {seed}", *pair) for seed, *pair in order], [note]
    ours, theirs = _index_by_seed(first), _index_by_seed(second)
    shared = [seed for seed in ours if seed in theirs]
    if not shared:
        raise UserError(
            f"{first.name} has the seeds {_join(ours)} and {second.name} has {_join(theirs)}: none is in both, so that no "
            "runs pair."
        )
    notes = []
    for group, own, other_group, other in ((first, ours, second, theirs), (second, theirs, first, ours)):
        alone = [seed for seed in own if seed not in other]
        if alone:
            are, have = ("Seed", "has") if len(alone) == 1 else ("Seeds", "have")
            notes.append(
                f"{are} {_join(alone)} of {group.name} {have} no partner in {other_group.name} and {have} no part."
            )
    return [RunPair(f"seed {seed}", ours[seed], theirs[seed]) for seed in shared], notes


def _pair_single(first: EvaluatedRun, second: EvaluatedRun) -> tuple[list[RunPair], list[str]]:
    seeds = {seed for seed in (first.seed, second.seed) if seed is not None}
    label = f"seed {_join(sorted(seeds))}" if seeds else "no seed"
    notes = []
    if len(seeds) == 2:
        notes = [
            f"The runs have different seeds ({first.seed} and {second.seed}): their difference has that of the seeds in it."
        ]
    return [RunPair(label, first, second)], notes


def _index_by_seed(group: RunGroup) -> dict[int, EvaluatedRun]:
    found: dict[int, EvaluatedRun] = {}
    for run in group.runs:
        if run.seed is None:
            raise UserError(
                f"{run.folder} has no record of its training, so that its seed is unknown: give the folder of the run."
            )
        if run.seed in found:
            raise UserError(
                f"{found[run.seed].folder} and {run.folder} of {group.name} have the same seed {run.seed}: a group has one "
                "run for each seed."
            )
        found[run.seed] = run
    return dict(sorted(found.items()))


def _join(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def check_comparable(name: str, runs: Iterable[EvaluatedRun]) -> list[str]:
    """
    Check that runs answered the same problems in the same way.

    Args:
        name (`str`):
            Name of the problem set, which all runs have.
        runs (`Iterable[EvaluatedRun]`):
            The runs.

    Returns:
        `list[str]`: sentences about settings that differ and that a comparison can bear.

    Raises:
        `ValueError`: if the problems, the prompts or a setting of the sampler differ; the message names it.
    """
    first, *others = runs
    own, noted = first.sets[name], set()
    for run in others:
        other = run.sets[name]
        for key, meaning in _EQUAL_SETTINGS.items():
            values = own.settings.get(key), other.settings.get(key)
            if values[0] != values[1]:
                told = "" if key == "prompts" else f" ({values[0]} and {values[1]})"
                raise UserError(
                    f"{first.folder} and {run.folder} cannot be compared on {name}: {meaning} differs{told}; evaluate both "
                    "with the same settings."
                )
        if own.keys != other.keys:
            alone = len(own.keys ^ other.keys)
            raise UserError(
                f"{first.folder} and {run.folder} cannot be compared on {name}: {alone} problems are in one of them only; "
                "evaluate both on the same problems."
            )
        noted |= {key for key in _NOTED_SETTINGS if own.settings.get(key) != other.settings.get(key)}
    texts = {"seed": "the seed of the answers", "versions": "the versions of the packages"}
    differing = [texts.get(key, key) for key in _NOTED_SETTINGS if key in noted]
    return [f"{name}: the evaluations differ in {_join(differing)}."] if differing else []
