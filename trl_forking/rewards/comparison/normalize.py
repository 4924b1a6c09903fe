"""One spelling for all ways to write the same formula: delimiters, spaces, sizes and fonts are taken away."""

import re

from .unicode_math import write_as_latex


_ROW_BREAK = re.compile(r"\\\\\s*(?:\[[\d.]+\s*(?:pt|em|ex|mm|cm)\])?")
_ROW_MARK = "\x01"
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z(){}\[\]%$])")
_ENVIRONMENT = re.compile(r"\\begin|&")
_TAGS = re.compile(r"</?(?:answer|ans|b|strong|i|em|p|span|sup|sub|code)>|<\|[a-z_]{3,}\|>", re.IGNORECASE)
_SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|mleft|mright)(?![A-Za-z])\s*\.?|"
    r"\\(?:display|text|script|scriptscript)style(?![A-Za-z])|\\(?:no)?limits(?![A-Za-z])|"
    r"\\(?:rm|bf|it|sf|tt|tiny|small|normalsize|large|Large|huge|Huge|nobreak|allowbreak|boldmath)(?![A-Za-z])|"
    r"\\(?:color|label|tag|hspace|vspace|kern)\*?\s*\{[^{}]*\}"
)
_TEXT_COLOR = re.compile(r"\\textcolor\s*\{[^{}]*\}")
_UNWRAPPED = re.compile(
    r"\\(?:boxed|fbox|framebox|mathbf|mathit|mathsf|mathtt|boldsymbol|bm|pmb|underline|ensuremath|mathop|mathstrut)"
    r"(?![A-Za-z])\s*(?=\{)"
)
_GROUPED = re.compile(r"(?<=\d)(?:\\[,;:!] ?|\\ |~|\{\\[,;:!]\}|\\thinspace ?)(?=\d{3}(?!\d))")
_GROUPED_COMMA = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\{\\,\})\s*(?=\d{3}(?!\d))")
_SPACES = re.compile(
    r"\\[,;: >]|\\(?:q?quad|enspace|thinspace|medspace|thickspace|nobreakspace|hfill|newline)(?![A-Za-z])"
)
_DELIMITERS = re.compile(r"\\[()\[\]]|\$\$")
_DOLLAR = re.compile(r"(?<!\\)\$")
_REPEATING = re.compile(
    r"(?<![\d.])(\d*)\.(\d*)\s*(?:\\(?:overline|bar|dot)\s*(?:\{\s*(\d+)\s*\}|(\d))|\((\d+)\))(?!\s*[\d{^])"
)
_DOTTED_BLOCK = re.compile(r"(?<![\d.])(\d*)\.(\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?(?!\d)")
_ELLIPSIS = re.compile(r"(?<![\d.])(\d*\.\d+)\s*(?:\\(?:l|c)?dots[a-z]?(?![A-Za-z])|\.{2,})")
_OVER = re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}")
_CHOOSE = re.compile(r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}|^([^{}]*)\\choose(?![A-Za-z])([^{}]*)$")
_BRACED_SIGN = re.compile(r"\{([:=<>+*/-])\}")
_ABOUT = re.compile(r"^\s*(\\text\w*\s*\{)?\s*(?:~|\\sim(?![A-Za-z]))\s*(?=[\d$\\.-])")


def normalize(text: str) -> str:
    r"""
    Write a formula in one way: without dollar signs, sizes, fonts, kinds of spaces, and Unicode forms.

    Spaces between the digits of a number stay, as do words. A row break becomes the character `\x01`. The digits that
    repeat stand in brackets.

    Args:
        text (`str`):
            Answer or gold answer, without its box.

    Returns:
        `str`: the same formula.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.normalize import normalize
    >>> normalize(r"$\displaystyle \left( 10\,000, 0.\overline{3} \right)$")
    '( 10 000, 0.[3] )'
    ```
    """
    text = _TAGS.sub(" ", write_as_latex(text))
    if not _ENVIRONMENT.search(text):
        text = _DOUBLED.sub(r"\\", text)  # a file may have escaped its backslashes twice
    text = _ROW_BREAK.sub(_ROW_MARK, text)
    text = _GROUPED_COMMA.sub(",", _GROUPED.sub(" ", text))
    text = _SIZES.sub(" ", _TEXT_COLOR.sub(" ", text))
    text = _CHOOSE.sub(_write_binomial, text)
    text = _BRACED_SIGN.sub(r"\1", _OVER.sub(r"\\frac{\1}{\2}", text))
    text = _UNWRAPPED.sub("", text).replace(r"\!", "")
    text = _remove_delimiters(_strip_markdown(text))
    text = _SPACES.sub(" ", text)
    text = text.replace("~~", r"\sout ")  # struck out in Markdown
    text = _ABOUT.sub(lambda match: rf"\approx {match[1] or ''}", text).replace("~", " ")
    return re.sub(r"[ \t\n]+", " ", _mark_repeating(text)).strip()


def _write_binomial(match: re.Match[str]) -> str:
    top, bottom = (part for part in match.groups() if part is not None)
    return rf"\binom{{{top}}}{{{bottom}}}"


def _strip_markdown(text: str) -> str:
    text = text.strip()
    for mark in ("**", "__", "`", '"', "'"):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
            inner = text[len(mark) : -len(mark)]
            if mark not in inner:
                text = inner.strip()
    return text


def _remove_delimiters(text: str) -> str:
    text = _DELIMITERS.sub(" ", text)
    # A single dollar sign is money; two of them are the ends of a formula.
    if len(_DOLLAR.findall(text)) % 2 == 0:
        text = _DOLLAR.sub(" ", text)
    return text


def _mark_repeating(text: str) -> str:
    text = _DOTTED_BLOCK.sub(lambda match: f"{match[1] or 0}.{match[2]}[{match[3]}{match[4]}{match[5]}]", text)
    text = _REPEATING.sub(lambda match: f"{match[1] or 0}.{match[2]}[{match[3] or match[4] or match[5]}]", text)
    text = re.sub(r"(\.\d*\[\d+\])\s*(?:\\[lc]?dots[a-z]?(?![A-Za-z])|\.{2,})", r"\1", text)
    return re.sub(r"\.{3,}", r"\\ldots ", _ELLIPSIS.sub(_find_period, text))


def _find_period(match: re.Match[str]) -> str:
    """Read `0.1666...`: the shortest end of the digits that stands there at least twice, in three digits or more."""
    whole, _, digits = match[1].partition(".")
    for length in range(1, len(digits) // 2 + 1):
        block, count = digits[-length:], 1
        while digits[: len(digits) - count * length].endswith(block):
            count += 1
        if count >= 2 and count * length >= 3:
            return f"{whole or 0}.{digits[: len(digits) - count * length]}[{block}]"
    return match[0]
