"""One HTML page that shows a collection: every token shaded by its entropy, and the forks at any rho. No network."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ..selection.share import check_share
from ..selection.tokens import compute_budget, read_share
from ..writing.files import write_atomically
from ..writing.numbers import format_percent
from .records import ScoredAnswer
from .report_data import build_report_data, dump_json
from .summary import describe


Table = tuple[str, Sequence[str], Sequence[Sequence[Any]]]

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("page.js", "report_data.js", "prompt_box.js", "report_tokens.js", "report_card.js", "report.js")
# A token takes about 40 bytes with five alternatives: a page stays at about 20 MB.
_MAX_TOKENS = 500_000


def build_report(
    records: Sequence[ScoredAnswer],
    *,
    title: str,
    settings: Mapping[str, Any],
    summary: Mapping[str, Any] | None = None,
    figures: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    tables: Sequence[Table] = (),
    top_entropy_quantile: float = 0.2,
    max_answers: int = 256,
    scores: Sequence[np.ndarray] = (),
    marked_by: str = "the trainer",
) -> str:
    r"""
    Build a self-contained HTML page with answers, figures, tables and settings.

    Of the `N` tokens on the page, the \\( \lceil \rho N \rceil \\) with the highest entropies are marked, by the rule of
    [`select_forks`]. A slider changes \\( \rho \\). No text of an answer can run as a script: the template escapes what it
    shows, the answers are JSON that the page's script writes as text, and the page's policy allows this one script and
    no network.

    Args:
        records (sequence of [`ScoredAnswer`]):
            Answers. The page has the first of them, at most `max_answers` and half a million tokens. If there are more,
            the page says so.
        title (`str`):
            Heading.
        settings (`dict`):
            Settings that the answers come from, by name.
        summary (`dict`, *optional*):
            Return value of [`summarize`] for all answers. The page describes it in a paragraph and a few numbers.
        figures (`dict[str, str]`, *optional*):
            SVG documents by their titles, shown as images.
        notes (sequence of `str`, *optional*):
            Sentences below the figures, such as why a figure is left out.
        tables (sequence of `tuple`, *optional*):
            Caption, header and rows of each table; cells are text, numbers or `None`.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of kept tokens before anyone moves the slider, \\( \rho \\), a fraction in (0, 1].
        max_answers (`int`, *optional*, defaults to `256`):
            Largest number of answers on the page.
        scores (sequence of `np.ndarray` of shape `(T_i,)`, *optional*):
            What a rule ranks the tokens of each answer by. The card beside a token shows it.
        marked_by (`str`, *optional*, defaults to `"the trainer"`):
            Who kept the tokens that the records have as kept.

    Returns:
        `str`: HTML.

    Raises:
        `ValueError`: if the share is not in (0, 1], `max_answers` is not positive or an entropy is NaN.

    Example:
    ```python
    >>> page = build_report([], title="Before training", settings={"model": "tiny"})
    >>> "<title>Before training</title>" in page
    True
    ```
    """
    check_share(top_entropy_quantile)
    if max_answers < 1:
        raise ValueError(f"max_answers must be at least 1, but it is {max_answers}.")
    shown = _choose_records(records, max_answers)
    figures = figures or {}
    data = build_report_data(shown, scores[: len(shown)], _replace_unprintable(marked_by)) | {
        "share": _build_share(shown, top_entropy_quantile),
        "partial": _describe_part(shown, records),
        "lead": describe(dict(summary)) if summary else "",
        "facts": _build_facts(summary) if summary else [],
        "settings": [[str(name), _format_setting(value)] for name, value in settings.items()],
        "tables": [_build_table(*table) for table in tables],
        "num_figures": len(figures) + len(notes),
    }
    return _render(
        data,
        title=_replace_unprintable(title),
        figures=[(_replace_unprintable(name), _encode_svg(svg)) for name, svg in figures.items()],
        notes=[_replace_unprintable(note) for note in notes],
    )


def _render(data: dict[str, Any], **parts: Any) -> str:
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    script = "\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    parts["has_alternatives"] = bool(data["num_alternatives"])
    return render_template(_TEMPLATES / "report.html", style, script, data, **parts)


def render_template(template: Path, style: str, script: str, data: Any, **parts: Any) -> str:
    """
    Fill in the template of a page that allows one script, one style and no network.

    Args:
        template (`Path`):
            File of the template, with places for `policy`, `style`, `script` and `data`.
        style, script (`str`):
            CSS and JavaScript of our own.
        data (`Any`):
            What the script reads, as JSON.
        **parts:
            Other places of the template. Texts are escaped.

    Returns:
        `str`: HTML.

    Example:
    ```python
    >>> from pathlib import Path
    >>> size = Path("page.html").write_text("<title>{{ title }}</title><script>{{ script }}</script>")
    >>> render_template(Path("page.html"), "", "let a;", {}, title="<b>")
    '<title>&lt;b&gt;</title><script>let a;</script>'
    ```
    """
    # Autoescape holds for all but these four, which are our own files, hashes of them, and JSON without any markup.
    unescaped = {"policy": _build_policy(script, style), "style": style, "script": script, "data": dump_json(data)}
    parts = {name: _replace_unprintable(part) if isinstance(part, str) else part for name, part in parts.items()}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page: str = environment.get_template(template.name).render(
        **{name: Markup(text) for name, text in unescaped.items()}, **parts
    )
    return page


def write_report(path: str | Path, records: Sequence[ScoredAnswer], **parts: Any) -> None:
    """
    Write the page of [`build_report`], completely or not at all.

    Args:
        path (`str` or `Path`):
            File to write. The function makes its folder.
        records (sequence of [`ScoredAnswer`]):
            Answers.
        parts (`Any`):
            The other arguments of [`build_report`].

    Example:
    ```python
    >>> from pathlib import Path
    >>> write_report("runs/report.html", [], title="Before training", settings={})
    >>> Path("runs/report.html").read_text().splitlines()[0]
    '<!DOCTYPE html>'
    ```
    """
    write_atomically(path, build_report(records, **parts))


def _choose_records(records: Sequence[ScoredAnswer], max_answers: int) -> Sequence[ScoredAnswer]:
    chosen = records[:max_answers]
    ends = np.cumsum([len(record.tokens) for record in chosen])
    return chosen[: max(1, int(np.searchsorted(ends, _MAX_TOKENS, side="right")))]


def _count_tokens(records: Sequence[ScoredAnswer]) -> int:
    return sum(len(record.tokens) for record in records)


def _describe_part(shown: Sequence[ScoredAnswer], records: Sequence[ScoredAnswer]) -> str:
    if len(shown) == len(records):
        return ""
    return (
        f"This page holds the first {len(shown):,} of {len(records):,} answers, {_count_tokens(shown):,} of "
        f"{_count_tokens(records):,} tokens. The slider counts the tokens on this page only."
    )


def _build_share(shown: Sequence[ScoredAnswer], top_entropy_quantile: float) -> dict[str, Any]:
    percent = float(read_share(top_entropy_quantile) * 100)
    num_kept = compute_budget(_count_tokens(shown), top_entropy_quantile)
    return {"percent": percent, "label": f"{percent:g} %", "num_kept": num_kept}


def _build_facts(summary: Mapping[str, Any]) -> list[list[str]]:
    facts = [
        ["Answers", f"{summary['num_answers']:,}"],
        ["Prompts", f"{summary['num_prompts']:,}"],
        ["Tokens", f"{summary['num_tokens']:,}"],
    ]
    counts = {row["group"]: row["num_answers"] for row in summary["by_correctness"]}
    judged = counts.get("right", 0) + counts.get("wrong", 0)
    if judged:
        facts.append(["Right", format_percent(counts.get("right", 0) / judged)])
    if summary["num_tokens"]:
        facts.append(["Mean entropy", f"{summary['mean_entropy']:.3f} nats"])
        facts.append(["80th percentile", f"{summary['percentiles']['80']:.3f} nats"])
        facts.append([f"Under {summary['near_zero']} nats", format_percent(summary["near_zero_share"])])
    return facts


def _format_setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _build_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {"caption": caption, "header": list(header), "rows": [[_to_cell(cell) for cell in row] for row in rows]}


def _to_cell(value: Any) -> str | int | float | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if np.isfinite(float(value)) else None
    return str(value)


def _encode_svg(svg: str) -> str:
    # As an image a drawing runs no script, and its styles and ids do not reach the page or another figure.
    return base64.b64encode(svg.encode("utf-8")).decode("ascii")


def _replace_unprintable(text: str) -> str:
    """Replace the characters that HTML or UTF-8 cannot hold."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def _build_policy(script: str, style: str) -> str:
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
