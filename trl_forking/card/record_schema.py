"""What a record of a run has to look like: a damaged one is told in one sentence, before anything is made of it."""

import math
from collections.abc import Callable
from typing import Any

from ..selection.rules import FACTS, is_import_path
from ..selection.words import SELECTION_SCOPES


Check = Callable[[Any, str], str | None]
"""Takes a value and its place in the record, and returns the place of what is wrong with it, or `None`."""

_LARGEST = 10**15  # no count of a run is larger, and a float holds it exactly


def _is(predicate: Callable[[Any], bool]) -> Check:
    return lambda value, place: None if predicate(value) else place


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


_text = _is(lambda value: isinstance(value, str))
_flag = _is(lambda value: isinstance(value, bool))
_number = _is(_is_number)
_limit = _is(lambda value: _is_number(value) or value in ("inf", "-inf", "nan"))
_count = _is(_is_count)
_size = _is(lambda value: _is_count(value) and value > 0)
_share = _is(lambda value: _is_number(value) and 0 < value <= 1)


def _one_of(*choices: str) -> Check:
    return _is(lambda value: isinstance(value, str) and value in choices)


def _optional(check: Check) -> Check:
    return lambda value, place: None if value is None else check(value, place)


def _list_of(check: Check, length: int | None = None) -> Check:
    def look(value: Any, place: str) -> str | None:
        if not isinstance(value, list) or length not in (None, len(value)):
            return place
        return next(filter(None, (check(item, f"{place}[{number}]") for number, item in enumerate(value))), None)

    return look


def _mapping_of(check: Check) -> Check:
    def look(value: Any, place: str) -> str | None:
        if not isinstance(value, dict):
            return place
        return next(filter(None, (check(item, f"{place}.{name}") for name, item in value.items())), None)

    return look


def _either(first: Check, second: Check) -> Check:
    return lambda value, place: first(value, place) and second(value, place)


def _parts(may_be_missing: tuple[str, ...] = (), **checks: Check) -> Check:
    """Check a mapping that has these entries, and may have others."""

    def look(value: Any, place: str) -> str | None:
        if not isinstance(value, dict):
            return place
        missing = [name for name in checks if name not in value and name not in may_be_missing]
        if missing:
            return f"{place}.{missing[0]}"
        found = (check(value[name], f"{place}.{name}") for name, check in checks.items() if name in value)
        return next(filter(None, found), None)

    return look


def _history(value: Any, place: str) -> str | None:
    wrong = _mapping_of(_list_of(_optional(_number)))(value, place)
    if wrong or not value:
        return wrong
    steps = value.get("step")
    wrong = _list_of(_count)(steps, f"{place}.step")
    return wrong or next((f"{place}.{name}" for name, column in value.items() if len(column) != len(steps)), None)


_names = _either(_text, _list_of(_text))
_PARTS: dict[str, Check] = {
    "method": _parts(name=_text, paper=_parts(title=_text, id=_text, citation=_text)),
    "tags": _list_of(_text),
    "names": _parts(
        ("model_name", "dataset_name", "tags", "example_prompt", "hub_model_id"),
        model_name=_optional(_text),
        dataset_name=_optional(_names),
        tags=_optional(_names),
        example_prompt=_optional(_text),
        hub_model_id=_optional(_text),
    ),
    "model": _parts(
        base_model=_optional(_text),
        is_local=_flag,
        architecture=_optional(_text),
        takes_images=_flag,
        num_parameters=_count,
        num_trained=_count,
        has_chat_template=_flag,
        adapter=_optional(_parts(type=_text, settings=_mapping_of(lambda value, place: None))),
        quantization=_optional(_text),
    ),
    "data": _parts(num_prompts=_optional(_count)),
    "rewards": _list_of(_parts(name=_text, weight=_number)),
    "dapo": _parts((), **dict.fromkeys(("dynamic sampling", "clip-higher", "overlong shaping"), _flag)),
    "forking": _parts(
        ("token_rule", "top_entropy_quantile_end", "kl_tokens"),
        top_entropy_quantile=_share,
        top_entropy_quantile_end=_optional(_share),
        token_selection=_is(lambda value: isinstance(value, str) and (value in FACTS or is_import_path(value))),
        token_rule=_optional(_text),
        kl_tokens=_optional(_one_of("all", "selected", "dropped")),
        selection_scope=_one_of(*SELECTION_SCOPES),
        loss_normalizer=_text,
        count_zero_advantage=_flag,
        dynamic_sampling=_flag,
        loss_type=_text,
        epsilon_high=_optional(_limit),
    ),
    "settings": _parts(("seed",), seed=_count),
    "batch": _parts(
        num_processes=_size, answers=_size, num_generations=_size, max_completion_length=_size, temperature=_number
    ),
    "progress": _parts(
        ("best_step",),
        step=_count,
        max_steps=_count,
        resumed_at=_list_of(_count),
        device=_text,
        best_step=_optional(_count),
    ),
    "history": _history,
    "evaluations": _list_of(
        _parts(
            step=_count,
            name=_optional(_text),
            metric=_text,
            value=_number,
            interval=_optional(_list_of(_number, 2)),
            num_samples=_optional(_count),
        )
    ),
    "kept_tokens": _optional(
        _parts(num_kept=_count, tokens=_list_of(_parts(token_id=_count, text=_text, kept=_count, counted=_size)))
    ),
    "links": _mapping_of(_text),
    "versions": _mapping_of(_text),
}
_MAY_BE_MISSING = ("evaluations",)


def find_damage(run: Any, is_whole: bool = False) -> str | None:
    """
    Find out where a record is not what [`~trl_forking.card.run_record.collect_run`] collects.

    Args:
        run (`Any`):
            Contents of the file.
        is_whole (`bool`, *optional*, defaults to `False`):
            Whether every part has to be there, as for a card. A comparison of runs does with some of them.

    Returns:
        `str` or `None`: the place of the first value that is missing or wrong; `None` if there is none.

    Example:
    ```python
    >>> find_damage({"history": {"step": [1, 2], "reward": [0.5]}})
    'history.reward'
    ```
    """
    if not isinstance(run, dict):
        return "its first value"
    for name, check in _PARTS.items():
        if name in run:
            if (place := check(run[name], name)) is not None:
                return place
        elif is_whole and name not in _MAY_BE_MISSING:
            return name
    return None
