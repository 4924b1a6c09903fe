"""math-verify's verdict, for formulas that no rule of ours reads: sums, products, integrals and limits."""

from typing import Any

from .normalize import normalize
from .parse_commands import CONSTANTS, FUNCTIONS, GREEK
from .tokens import NotReadable, Token, tokenize


_ONLY_MATH_VERIFY = {"sum", "prod", "int", "lim"}
_KNOWN = FUNCTIONS | set(CONSTANTS) | GREEK | {"frac", "sqrt", "binom", "degree", "to", "infty", "mathrm"}
_SIGNS = set("+-*/^_(){}[]|!") | {"="}
_DIGITS = 50


def may_decide(gold: str, answer: str) -> bool:
    r"""
    Say whether math-verify's verdict is safe.

    It is asked about two formulas of which one has a sum, a product, an integral or a limit. Neither may have words,
    decimals, lists or relations, because math-verify is known to pass over them.

    Args:
        gold (`str`):
            Gold answer.
        answer (`str`):
            Answer.

    Returns:
        `bool`: whether to ask it.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.fallback import may_decide
    >>> may_decide(r"\sum_{k=1}^{10} k", "55"), may_decide("55", r"5 \foo 6")
    (True, False)
    ```
    """
    try:
        both = tokenize(normalize(gold)), tokenize(normalize(answer))
    except NotReadable:
        return False
    letters = {token.text for tokens in both for token in tokens if token.kind == "letters"}
    if len({run.lower() for run in letters}) < len(letters):
        return False  # math-verify takes k and K for one variable
    commands = {token.text for tokens in both for token in tokens if token.kind == "command"}
    return bool(commands & _ONLY_MATH_VERIFY) and all(_is_plain(token) for tokens in both for token in tokens)


def _is_plain(token: Token) -> bool:
    if token.kind == "command":
        return token.text in _KNOWN | _ONLY_MATH_VERIFY
    if token.kind == "letters":
        return len(token.text) <= 2
    return token.text.isdigit() if token.kind == "number" else token.kind == "sign" and token.text in _SIGNS


def compare_by_math_verify(gold: str, answer: str) -> bool:
    r"""
    Ask math-verify whether two formulas are equal.

    Args:
        gold (`str`):
            Gold answer.
        answer (`str`):
            Answer.

    Returns:
        `bool`: whether it reads both as expressions, finds them equal, and 50 digits confirm it.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.fallback import compare_by_math_verify
    >>> compare_by_math_verify(r"\sum_{k=1}^{10} k", "55"), compare_by_math_verify(r"\sum_{k=1}^{10} k", "54")
    (True, False)
    ```
    """
    from math_verify import verify

    golds, answers = parse_by_math_verify(gold), parse_by_math_verify(answer)
    if not _are_expressions(golds) or not _are_expressions(answers):
        return False
    # No time-out here: math-verify's own would cancel that of the worker.
    if not verify(golds, answers, timeout_seconds=None):
        return False
    values = [expression.doit() for expression in (golds[0], answers[0])]
    if any(value.free_symbols for value in values):
        return True
    first, second = (value.evalf(_DIGITS) for value in values)
    return bool(abs(first - second) <= abs(first) * 10 ** (10 - _DIGITS))


def _are_expressions(parsed: list[Any]) -> bool:
    from sympy import Expr, Float

    return bool(parsed) and isinstance(parsed[0], Expr) and not parsed[0].has(Float)


def parse_by_math_verify(text: str) -> list[Any]:
    r"""
    Read a formula with math-verify.

    Args:
        text (`str`):
            A formula.

    Returns:
        `list`: what math-verify returns: an expression of SymPy and the text, or nothing.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.fallback import parse_by_math_verify
    >>> parse_by_math_verify(r"\frac{1}{2}")[0]
    1/2
    ```
    """
    from math_verify import LatexExtractionConfig, parse

    found: list[Any] = parse(
        rf"\boxed{{{text}}}",
        extraction_config=[LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)],
        extraction_mode="first_match",
        parsing_timeout=None,
    )
    return found
