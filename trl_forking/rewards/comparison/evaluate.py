"""Exact values of formulas. Nothing here can take long or fill the memory."""

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

from .tree import Node


class NoValue(ValueError):
    """
    A formula that has no value of the kind that is asked for: it is not rational, divides by zero, or is too large.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.evaluate import NoValue
    >>> raise NoValue("it divides by zero")
    Traceback (most recent call last):
        ...
    trl_forking.rewards.comparison.evaluate.NoValue: it divides by zero
    ```
    """


class Algebra(Protocol):
    """The operations that [`evaluate`] needs. Values are of any one type."""

    def number(self, value: Fraction) -> Any:
        """Return the value of a number."""

    def symbol(self, name: str) -> Any:
        """Return the value of a variable."""

    def constant(self, name: str) -> Any:
        """Return the value of `pi`, `e`, `i` or `infinity`."""

    def divide(self, top: Any, bottom: Any) -> Any:
        """Return the quotient."""

    def power(self, base: Any, exponent: Node) -> Any:
        """Return the power. The exponent is a formula, because an algebra may read it in another way."""

    def call(self, name: str, arguments: list[Any]) -> Any:
        """Return the value of a function."""


# Bits of the largest number. Ten times as many still take only milliseconds.
_MAX_BITS = 50_000
_MAX_FACTORIAL = 2000


def evaluate(node: Node, algebra: Algebra) -> Any:
    """
    Compute the value of a formula.

    Args:
        node ([`~trl_forking.rewards.comparison.tree.Node`]):
            A formula without a `plus_minus`.
        algebra ([`Algebra`]):
            The kind of values.

    Returns:
        `Any`: the value.

    Raises:
        [`NoValue`]: if it has none.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.evaluate import Rationals, evaluate
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> evaluate(parse_text(r"2^{-1} + 1/3"), Rationals())
    Fraction(5, 6)
    ```
    """
    kind, parts = node.kind, node.parts
    if kind == "number":
        return algebra.number(node.value.value)
    if kind == "symbol":
        return algebra.symbol(node.value)
    if kind == "constant":
        return algebra.constant(node.value)
    values = [evaluate(part, algebra) for part in (parts[:1] if kind == "power" else parts)]
    if kind == "add":
        return values[0] + values[1]
    if kind == "multiply":
        return values[0] * values[1]
    if kind == "divide":
        return algebra.divide(*values)
    if kind == "power":
        return algebra.power(values[0], parts[1])
    if kind == "negative":
        return -values[0]
    if kind == "percent":
        return algebra.divide(values[0], algebra.number(Fraction(100)))
    if kind == "degrees":
        return algebra.divide(values[0] * algebra.constant("pi"), algebra.number(Fraction(180)))
    if kind == "call":
        return algebra.call(node.value, values)
    raise NoValue(f"a {kind} has no value")


def find_rational(node: Node) -> Fraction | None:
    """
    Compute the value of a formula if it is rational.

    Args:
        node ([`~trl_forking.rewards.comparison.tree.Node`]):
            A formula.

    Returns:
        `Fraction` or `None`: the exact value.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.evaluate import find_rational
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> find_rational(parse_text(r"\\sqrt{4}")), find_rational(parse_text(r"\\sqrt{2}"))
    (Fraction(2, 1), None)
    ```
    """
    try:
        value: Fraction | None = evaluate(node, Rationals())
    except NoValue:
        return None
    return value


class Rationals:
    """
    Exact fractions.

    Example:
    ```python
    >>> from fractions import Fraction
    >>> from trl_forking.rewards.comparison.evaluate import Rationals
    >>> Rationals().divide(Fraction(1), Fraction(3))
    Fraction(1, 3)
    ```
    """

    def number(self, value: Fraction) -> Fraction:
        """Return the number."""
        return value

    def symbol(self, name: str) -> Fraction:
        """Raise [`NoValue`]."""
        raise NoValue(f"{name} is a variable")

    def constant(self, name: str) -> Fraction:
        """Raise [`NoValue`]."""
        raise NoValue(f"{name} is not rational")

    def divide(self, top: Fraction, bottom: Fraction) -> Fraction:
        """Return the quotient."""
        if not bottom:
            raise NoValue("it divides by zero")
        return _check_size(top / bottom)

    def power(self, base: Fraction, exponent: Node) -> Fraction:
        """Return the power if it is rational and not too large."""
        return raise_to(base, evaluate(exponent, self))

    def call(self, name: str, arguments: list[Fraction]) -> Fraction:
        """Return the value of a function that keeps rational numbers rational."""
        if name == "root":
            if not arguments[1] or arguments[1].denominator != 1:
                raise NoValue("a root has no whole index")
            return raise_to(arguments[0], 1 / arguments[1])
        if name not in _RATIONAL_FUNCTIONS or (name in _WHOLE and any(value.denominator != 1 for value in arguments)):
            raise NoValue(f"{name} is not rational")
        return _check_size(_RATIONAL_FUNCTIONS[name](arguments))


class WholePoint(Rationals):
    """
    Exact fractions, with fixed random whole numbers for the variables.

    Args:
        seed (`int`):
            Number of the random values. They are positive if it is even, and negative if it is odd.
        size (`int`, *optional*, defaults to 30):
            How many numbers there are to draw from. The smallest is 2.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.evaluate import WholePoint, evaluate
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> evaluate(parse_text("n!"), WholePoint(0)) == evaluate(parse_text("n(n-1)!"), WholePoint(0))
    True
    ```
    """

    def __init__(self, seed: int, size: int = 30) -> None:
        self._seed, self._size = seed, size

    def symbol(self, name: str) -> Fraction:
        """Return the random value of a variable."""
        number = 2 + hash_text(f"{self._seed} {name}") % self._size
        return Fraction(-number if self._seed % 2 else number)


def hash_text(text: str) -> int:
    """
    Make a large number from a text. It is the same in every process, other than `hash`.

    Args:
        text (`str`):
            Any text.

    Returns:
        `int`: a number of up to 128 bits.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.evaluate import hash_text
    >>> hash_text("x") == hash_text("x"), hash_text("x") == hash_text("y")
    (True, False)
    ```
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def raise_to(base: Fraction, exponent: Fraction) -> Fraction:
    """
    Raise a fraction to a power. The root of a negative number with an odd index is real.

    Args:
        base (`Fraction`):
            Base.
        exponent (`Fraction`):
            Exponent.

    Returns:
        `Fraction`: the exact power.

    Raises:
        [`NoValue`]: if it is not rational, does not exist or has more than 50,000 bits.

    Example:
    ```python
    >>> from fractions import Fraction
    >>> from trl_forking.rewards.comparison.evaluate import raise_to
    >>> raise_to(Fraction(-8), Fraction(2, 3))
    Fraction(4, 1)
    ```
    """
    if exponent.denominator > 64:
        raise NoValue("a root has a large index")
    if exponent.denominator > 1:
        base = Fraction(
            _take_root(base.numerator, exponent.denominator), _take_root(base.denominator, exponent.denominator)
        )
    if not base and exponent <= 0:
        raise NoValue("zero has no such power")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if base not in (0, 1, -1) and abs(exponent.numerator) * bits > _MAX_BITS:
        raise NoValue("a power is too large")
    if base in (1, -1):
        return base if exponent.numerator % 2 else Fraction(1)
    return base**exponent.numerator


def _take_root(value: int, index: int) -> int:
    if value < 0:
        if index % 2 == 0:
            raise NoValue("an even root of a negative number is not real")
        return -_take_root(-value, index)
    low, high = 0, 1 << (value.bit_length() // index + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**index < value:
            low = middle + 1
        else:
            high = middle
    if low**index != value:
        raise NoValue("a root is not rational")
    return low


def _check_size(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * _MAX_BITS:
        raise NoValue("a number is too large")
    return value


def _factorial(arguments: list[Fraction]) -> Fraction:
    if not 0 <= arguments[0] <= _MAX_FACTORIAL:
        raise NoValue("a factorial is too large")
    return Fraction(math.factorial(int(arguments[0])))


def _binomial(arguments: list[Fraction]) -> Fraction:
    top, bottom = map(int, arguments)
    if not 0 <= top <= _MAX_FACTORIAL or bottom < 0:
        raise NoValue("a binomial coefficient is too large")
    return Fraction(math.comb(top, bottom))


def _permutations(arguments: list[Fraction]) -> Fraction:
    top, bottom = map(int, arguments)
    if not 0 <= top <= _MAX_FACTORIAL or bottom < 0:
        raise NoValue("a number of permutations is too large")
    return Fraction(math.perm(top, bottom))


_WHOLE = {"factorial", "binomial", "permutations", "gcd", "lcm"}
_RATIONAL_FUNCTIONS: dict[str, Callable[[list[Fraction]], Fraction]] = {
    "abs": lambda values: abs(values[0]),
    "floor": lambda values: Fraction(math.floor(values[0])),
    "ceil": lambda values: Fraction(math.ceil(values[0])),
    "max": max,
    "min": min,
    "gcd": lambda values: Fraction(math.gcd(*map(int, values))),
    "lcm": lambda values: Fraction(math.lcm(*map(int, values))),
    "factorial": _factorial,
    "binomial": _binomial,
    "permutations": _permutations,
}
