"""Compares an answer with the gold answer by their kinds."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .compare_equations import compare_equations, compare_inequalities, solve_inequality
from .compare_matrices import compare_matrices
from .compare_quantities import compare_quantities
from .compare_sets import compare_sets, is_set
from .equality import is_same_value
from .evaluate import find_rational
from .kinds import (
    BARE_FORMS,
    Approximate,
    Based,
    Choice,
    Clock,
    Congruence,
    Date,
    Equation,
    Inequality,
    Kind,
    Listing,
    Matrix,
    Named,
    Quantity,
    Ratio,
    RealSet,
    Text,
    Value,
)  # fmt: skip
from .numbers import is_same_number
from .parse_commands import make_number
from .tree import Node, find_symbols, get_literal


class Outcome(NamedTuple):
    """
    A verdict.

    Args:
        is_right (`bool`):
            Whether the answer is right.
        rule (`str`):
            The rule that decided.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare import compare
    >>> from trl_forking.rewards.comparison.read import read
    >>> compare(read("0.5"), read("1/2"))
    Outcome(is_right=True, rule='equal values')
    ```
    """

    is_right: bool
    rule: str


_MIN_ROUNDED_DIGITS = 3  # a gold decimal with as many digits may itself be rounded


def compare(gold: Kind, answer: Kind) -> Outcome:
    """
    Compare an answer with the gold answer.

    Args:
        gold (`Kind`):
            Gold answer.
        answer (`Kind`):
            Answer.

    Returns:
        [`Outcome`]: whether it is right, and by which rule.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare import compare
    >>> from trl_forking.rewards.comparison.read import read
    >>> compare(read("x=2, y=3"), read("y=3, x=2")).is_right
    True
    >>> compare(read(r"5 \\text{ km}"), read(r"5 \\text{ cm}"))
    Outcome(is_right=False, rule='the numbers with their units differ')
    ```
    """
    gold, answer = _unwrap(gold), _unwrap(answer)
    for types, compare_wrapped in _WRAPPED:
        if isinstance(gold, types) or isinstance(answer, types):
            return compare_wrapped(gold, answer)
    if is_set(gold) and is_set(answer) and (isinstance(gold, RealSet) or isinstance(answer, RealSet)):
        return Outcome(*compare_sets(gold, answer))
    if isinstance(gold, Quantity) or isinstance(answer, Quantity):
        return Outcome(*compare_quantities(gold, answer))
    if isinstance(gold, Listing) and isinstance(answer, Listing):
        return _compare_listings(gold, answer)
    rule = _RULES.get((type(gold), type(answer)))
    return Outcome(False, _explain_kinds(gold, answer)) if rule is None else rule(gold, answer)


def _unwrap(kind: Kind) -> Kind:
    """Take a set of one number for the number. A set of sets stays what it is."""
    if isinstance(kind, Listing) and len(kind.items) == 1 and kind.form in ("set", *BARE_FORMS):
        return kind if _is_braced(kind.items[0]) else kind.items[0]
    return kind


def _is_braced(kind: Kind) -> bool:
    return isinstance(kind, RealSet) or (isinstance(kind, Listing) and kind.form == "set")


def name_kind(kind: Kind) -> str:
    """
    Name the kind of an answer.

    Args:
        kind (`Kind`):
            An answer.

    Returns:
        `str`: words with an article.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare import name_kind
    >>> from trl_forking.rewards.comparison.read import read
    >>> name_kind(read("5")), name_kind(read("x+1")), name_kind(read("(1,2)"))
    ('a number', 'an expression', 'a tuple')
    ```
    """
    if isinstance(kind, Value):
        return "an expression" if find_symbols(kind.node) else "a number"
    if isinstance(kind, Listing):
        return {"row": "a list in square brackets", "alternatives": "a list", "sizes": "sizes"}.get(
            kind.form, f"a {kind.form}"
        )
    if isinstance(kind, Named):
        return "a value with a name" if len(kind.values) == 1 else "values with names"
    return _KIND_NAMES[type(kind)]


_KIND_NAMES: dict[type, str] = {
    Quantity: "a number with a unit", RealSet: "a set of real numbers", Equation: "an equation", Inequality: "an inequality",
    Matrix: "a matrix", Choice: "a choice", Ratio: "a ratio", Clock: "a time", Date: "a date",
    Based: "a number in another base", Congruence: "a congruence", Approximate: "an approximate value", Text: "text",
}  # fmt: skip


def _explain_kinds(gold: Kind, answer: Kind) -> str:
    return f"{name_kind(answer)} is not {name_kind(gold)}"


def _decide(is_right: bool, right: str, wrong: str) -> Outcome:
    return Outcome(is_right, right if is_right else wrong)


def _compare_texts(gold: Kind, answer: Kind) -> Outcome:
    if isinstance(gold, Text) and isinstance(answer, Text):
        return _decide(bool(gold.words) and gold.words == answer.words, "the same words", "the words differ")
    if isinstance(gold, Choice) and isinstance(answer, Text) or isinstance(gold, Text) and isinstance(answer, Choice):
        return _compare_choices(gold, answer)
    return Outcome(False, _explain_kinds(gold, answer))


def _compare_approximations(gold: Kind, answer: Kind) -> Outcome:
    if isinstance(gold, Approximate):
        golds = [kind for kind in (gold.exact, gold.value) if kind is not None]
        answers = [answer.exact or answer.value] if isinstance(answer, Approximate) else [answer]
        return _first_right([compare(one, other) for one in golds for other in answers])
    assert isinstance(answer, Approximate)
    outcomes = [compare(gold, answer.exact)] if answer.exact is not None else []
    if _may_be_rounded(gold):
        outcomes.append(compare(gold, answer.value))
    return _first_right(outcomes) if outcomes else Outcome(False, "an approximate value is no exact one")


def _may_be_rounded(kind: Kind) -> bool:
    if isinstance(kind, Named) and len(kind.values) == 1:
        return _may_be_rounded(kind.values[0][1])
    if isinstance(kind, Quantity) and len(kind.parts) == 1:
        return _may_be_rounded(Value(kind.parts[0][0]))
    literal = get_literal(kind.node) if isinstance(kind, Value) else None
    return literal is not None and literal.digits is not None and literal.digits >= _MIN_ROUNDED_DIGITS


def _first_right(outcomes: Sequence[Outcome]) -> Outcome:
    return next((outcome for outcome in outcomes if outcome.is_right), outcomes[0])


def _compare_choices(gold: Kind, answer: Kind) -> Outcome:
    if isinstance(gold, Choice) and isinstance(answer, Choice):
        if gold.letter != answer.letter:
            return Outcome(False, "the letters of the choices differ")
        return _decide(compare(gold.rest, answer.rest).is_right, "the same choice", "the texts of the choices differ")
    if isinstance(gold, Choice):
        if isinstance(answer, Value) and answer.node.kind == "symbol" and len(answer.node.value) == 1:
            return _decide(answer.node.value == gold.letter, "the same choice", "the letters of the choices differ")
        return compare(gold.rest, answer)
    assert isinstance(answer, Choice)
    if isinstance(gold, Value) and gold.node.kind == "symbol":
        return _decide(gold.node.value == answer.letter, "the same choice", "the letters of the choices differ")
    return compare(gold, answer.rest)


def _compare_named(gold: Kind, answer: Kind) -> Outcome:
    if isinstance(gold, Equation) or isinstance(answer, Equation):
        return Outcome(*compare_equations(gold, answer))
    if isinstance(gold, Named) and isinstance(answer, Named):
        expected, given = dict(gold.values), dict(answer.values)
        if expected.keys() != given.keys():
            outcome = Outcome(*compare_equations(gold, answer))  # y = x, and x = y
            return outcome if outcome.is_right else Outcome(False, "the names differ")
        return _all_right([compare(value, given[name]) for name, value in expected.items()], "the same values by name")
    named, other = (gold, answer) if isinstance(gold, Named) else (answer, gold)
    assert isinstance(named, Named)
    if len(named.values) == 1:
        value = named.values[0][1]
        return compare(value, other) if named is gold else compare(other, value)
    values = _order_by_name(named)
    is_interval = isinstance(other, Listing) and other.form == "row" and len(other.items) == 2
    if values is None or not isinstance(other, Listing) or other.form in ("set", "alternatives") or is_interval:
        return Outcome(False, "values without names have no order that is sure")
    if any(isinstance(item, Named) for item in other.items):
        return Outcome(False, "the names differ")
    golds, answers = (values, other.items) if named is gold else (other.items, values)
    return _compare_in_order(golds, answers, "the same values in the order of the names")


def _order_by_name(named: Named) -> list[Kind] | None:
    names = [name for name, _ in named.values]
    if all(len(name.split("_")[0]) == 1 for name in names) and names != sorted(names):
        return None  # y=3, x=2: it is not sure whether 3 or 2 comes first
    return [value for _, value in named.values]


def _compare_in_order(golds: Sequence[Kind], answers: Sequence[Kind], rule: str) -> Outcome:
    if len(golds) != len(answers):
        return Outcome(False, "the numbers of answers differ")
    return _all_right([compare(gold, answer) for gold, answer in zip(golds, answers, strict=True)], rule)


def _all_right(outcomes: Sequence[Outcome], rule: str) -> Outcome:
    wrong = next((outcome for outcome in outcomes if not outcome.is_right), None)
    return Outcome(True, rule) if wrong is None else wrong


def _find_names(kind: Listing) -> set[str]:
    return {item.values[0][0] for item in kind.items if isinstance(item, Named) and len(item.values) == 1}


def _compare_listings(gold: Listing, answer: Listing) -> Outcome:
    if len(_find_names(gold) | _find_names(answer)) > 1 and _find_names(gold) != _find_names(answer):
        return Outcome(False, "the names differ")
    forms = tuple("list" if form in BARE_FORMS else form for form in (gold.form, answer.form))
    if forms == ("set", "set"):
        golds, answers = _drop_repeats(gold.items), _drop_repeats(answer.items)
        return _compare_in_any_order(golds, answers, "the same set")
    if forms in (("list", "list"), ("list", "set")):
        return _compare_in_any_order(gold.items, answer.items, "the same answers, in any order")
    if forms == ("set", "list"):
        return _compare_in_any_order(_drop_repeats(gold.items), answer.items, "the same set")
    if "sizes" in forms and forms[0] != forms[1]:
        return Outcome(False, "lengths by each other are no list")
    if "set" in forms:
        return Outcome(False, "a set has no order, and a tuple has one")
    if len(gold.items) == 2 and "row" in forms and forms != ("row", "row"):
        return Outcome(False, "square brackets around two numbers are an interval")
    if "tuple" in forms and "alternatives" in (gold.form, answer.form):
        return Outcome(False, "alternatives are no tuple")
    return _compare_in_order(gold.items, answer.items, "the same answers in the same order")


def _drop_repeats(items: Sequence[Kind]) -> list[Kind]:
    kept: list[Kind] = []
    for item in items:
        if not any(_is_same_item(other, item) for other in kept):
            kept.append(item)
    return kept


def _is_same_item(gold: Kind, answer: Kind) -> bool:
    """Say whether two items of lists are the same. As an item, the set of a number is not the number."""
    return _is_braced(gold) == _is_braced(answer) and compare(gold, answer).is_right


def _compare_in_any_order(golds: Sequence[Kind], answers: Sequence[Kind], rule: str) -> Outcome:
    if len(golds) != len(answers):
        return Outcome(False, "the numbers of answers differ")
    left = list(answers)
    for gold in golds:
        match = next((answer for answer in left if _is_same_item(gold, answer)), None)
        if match is None:
            return Outcome(False, "one of the answers is missing")
        left.remove(match)
    return Outcome(True, rule)


def _compare_values(gold: Value, answer: Value) -> Outcome:
    rule = is_same_number(gold.node, answer.node)
    return Outcome(rule is not None, rule or "the values differ")


def _compare_ratios(gold: Kind, answer: Kind) -> Outcome:
    parts = [_get_ratio(kind) for kind in (gold, answer)]
    if parts[0] is None or parts[1] is None:
        return Outcome(False, _explain_kinds(gold, answer))
    (first, *others), (head, *rest) = parts[0], parts[1]
    is_same = len(others) == len(rest) and all(
        is_same_value(Node("multiply", (one, head)), Node("multiply", (other, first)))
        for one, other in zip(others, rest, strict=True)
    )
    return _decide(is_same, "the same ratio", "the ratios differ")


def _get_ratio(kind: Kind) -> tuple[Node, ...] | None:
    if isinstance(kind, Ratio):
        return kind.parts
    if isinstance(kind, Clock) and not kind.is_fixed and kind.minute >= 10:  # 4:05 is no ratio
        return make_number(kind.hour), make_number(kind.minute)
    value = find_rational(kind.node) if isinstance(kind, Value) else None
    return None if value is None else (make_number(value.numerator), make_number(value.denominator))


def _compare_clocks(gold: Clock, answer: Clock) -> Outcome:
    is_same = (gold.hour, gold.minute) == (answer.hour, answer.minute)
    if gold.is_fixed != answer.is_fixed:
        open_hour = answer.hour if gold.is_fixed else gold.hour
        is_same |= open_hour <= 12 and (gold.hour - answer.hour) % 12 == 0 and gold.minute == answer.minute
    return _decide(is_same, "the same time", "the times differ")


def _compare_directly(gold: Kind, answer: Kind) -> Outcome:
    return _decide(gold == answer, f"the same {name_kind(gold).split()[-1]}", f"{name_kind(gold)} with other parts")


def _compare_congruences(gold: Congruence, answer: Congruence) -> Outcome:
    if gold.name and answer.name and gold.name != answer.name:
        return Outcome(False, "the names differ")
    return _decide(gold[1:] == answer[1:], "the same remainder and modulus", "the remainders or moduli differ")


def _compare_solution(gold: Inequality, answer: Kind) -> Outcome:
    """Compare a set with an inequality of which it may be the solution. An inequality is no solution itself."""
    solution = solve_inequality(gold)
    if solution is None or not is_set(answer):
        return Outcome(False, _explain_kinds(gold, answer))
    return Outcome(*compare_sets(solution, answer))


# Kinds with another answer inside, and kinds that several others can be compared with.
_WRAPPED: list[tuple[type, Callable[[Kind, Kind], Outcome]]] = [
    (Text, _compare_texts),
    (Approximate, _compare_approximations),
    (Choice, _compare_choices),
    (Named, _compare_named),
    (Equation, lambda gold, answer: Outcome(*compare_equations(gold, answer))),
    (Ratio, _compare_ratios),
]
_RULES: dict[tuple[type, type], Callable[[Any, Any], Outcome]] = {
    (Value, Value): _compare_values,
    (Inequality, Inequality): lambda gold, answer: Outcome(*compare_inequalities(gold, answer)),
    (Inequality, RealSet): _compare_solution,
    (Inequality, Listing): _compare_solution,
    (Matrix, Matrix): lambda gold, answer: Outcome(*compare_matrices(gold, answer)),
    (Matrix, Listing): lambda gold, answer: Outcome(*compare_matrices(gold, answer)),
    (Listing, Matrix): lambda gold, answer: Outcome(*compare_matrices(gold, answer)),
    (Clock, Clock): _compare_clocks,
    (Date, Date): _compare_directly,
    (Based, Based): _compare_directly,
    (Congruence, Congruence): _compare_congruences,
}
