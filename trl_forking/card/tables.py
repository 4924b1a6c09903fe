"""The tables of a card: results of evaluations, and the tokens that were kept most often."""

from typing import Any

from huggingface_hub import EvalResult

from ..writing.markdown import escape_text, format_code, is_repo_id
from ..writing.numbers import format_percent


def describe_result(result: EvalResult) -> dict[str, str]:
    """
    Write a row of the table of results.

    Args:
        result ([`~huggingface_hub.EvalResult`]):
            Result of an evaluation.

    Returns:
        `dict[str, str]`: cells by the names of their columns, as Markdown.

    Example:
    ```python
    >>> row = describe_result(EvalResult("text-generation", "openai/gsm8k", "GSM8K", "accuracy", 0.4123))
    >>> row["dataset"], row["value"]
    ('[GSM8K](https://huggingface.co/datasets/openai/gsm8k)', '0.4123')
    ```
    """
    settings = dict(result.metric_args or {})
    num_samples, interval = settings.pop("num_samples", None), settings.pop("interval", None)
    baseline, its_interval = settings.pop("baseline", None), settings.pop("baseline_interval", None)
    name = result.dataset_name
    is_on_hub = is_repo_id(result.dataset_type) and "/" in result.dataset_type
    link = f"[{escape_text(name)}](https://huggingface.co/datasets/{result.dataset_type})"
    return {
        "dataset": link if is_on_hub else escape_text(name),
        "metric": escape_text(result.metric_type),
        "value": _format_value(result.metric_value, interval),
        "baseline": "" if baseline is None else _format_value(baseline, its_interval),
        "num_samples": "" if num_samples is None else f"{num_samples:,}",
        "settings": ", ".join(f"{escape_text(key)} {format_code(item)}" for key, item in settings.items()),
    }


def _format_value(value: float, interval: list[float] | None) -> str:
    return f"{value:.4g}" + (f" ({interval[0]:.3g} to {interval[-1]:.3g})" if interval else "")


def arrange_tokens(tokens: list[dict[str, Any]]) -> list[tuple[dict[str, str], dict[str, str]]]:
    """
    Arrange the tokens that were kept most often in two columns, the second below the first.

    Args:
        tokens (`list[dict[str, Any]]`):
            For each token its `text`, and how often it was `kept` and `counted`.

    Returns:
        `list[tuple[dict[str, str], dict[str, str]]]`: rows of two cells with `text`, `kept` and `share`, as Markdown.

    Example:
    ```python
    >>> arrange_tokens([{"text": " wait", "kept": 3, "counted": 4}])
    [({'text': '`␣wait`', 'kept': '3', 'share': '75 %'}, {'text': '', 'kept': '', 'share': ''})]
    ```
    """
    rows = [
        {
            "text": format_code(token["text"].replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")),
            "kept": f"{token['kept']:,}",
            "share": format_percent(token["kept"] / token["counted"], digits=2),
        }
        for token in tokens
    ]
    half = (len(rows) + 1) // 2
    empty = {"text": "", "kept": "", "share": ""}
    return [(rows[index], rows[index + half] if index + half < len(rows) else empty) for index in range(half)]
