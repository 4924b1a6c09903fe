"""Values with many digits, for formulas with roots, powers, logarithms and angles. It needs mpmath, which SymPy brings."""

import functools
from fractions import Fraction
from typing import Any

from .evaluate import NoValue, Rationals, evaluate, hash_text
from .tree import Node


# Powers of ten: no value may be larger or closer to zero than 10 ** ±_MAX_MAGNITUDE, so that what is left of two equal
# values after a subtraction is told from a small value.
_MAX_MAGNITUDE = 150

_FUNCTIONS = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "arcsin": "asin",
    "arccos": "acos", "arctan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "coth": "coth", "ln": "log",
}  # fmt: skip


class Decimals:
    """
    Real and complex values with a given number of digits.

    Args:
        digits (`int`):
            Number of digits.
        seed (`int`, *optional*, defaults to 0):
            Number of the random values of the variables. They are positive if it is even, and of both signs if it is
            odd.
        size (`int`, *optional*, defaults to 1):
            How many times larger these values are.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.decimals import Decimals
    >>> from trl_forking.rewards.comparison.evaluate import evaluate
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> float(evaluate(parse_text(r"\\sqrt{2}"), Decimals(30)))
    1.4142135623730951
    ```
    """

    def __init__(self, digits: int, seed: int = 0, size: int = 1) -> None:
        self.context, self._seed, self._size = _get_context(digits), seed, size

    def number(self, value: Fraction) -> Any:
        """Return the decimal of a fraction."""
        if value and abs(value.numerator.bit_length() - value.denominator.bit_length()) > _MAX_MAGNITUDE * 3.32:
            raise NoValue("a number is too large or too small")
        return self.context.mpf(value.numerator) / value.denominator

    def symbol(self, name: str) -> Any:
        """Return the random value of a variable, between 0.3 and 2.3 times the size, without its sign."""
        number = hash_text(f"{self._seed} {name}") % 2**48
        value = self.number(self._size * (Fraction(3, 10) + Fraction(2 * number, 2**48)))
        return -value if self._seed % 2 and number % 3 else value

    def constant(self, name: str) -> Any:
        """Return the value of a constant."""
        if name == "infinity":
            return self.context.inf
        return {"pi": +self.context.pi, "e": +self.context.e, "i": self.context.j}[name]

    def divide(self, top: Any, bottom: Any) -> Any:
        """Return the quotient."""
        if not bottom or self.context.isinf(bottom):
            raise NoValue("it divides by zero or infinity")
        return top / bottom

    def power(self, base: Any, exponent: Node) -> Any:
        """Return the power. The root of a negative number with an odd index is real."""
        try:
            number = evaluate(exponent, Rationals())
        except NoValue:
            return self._raise(base, evaluate(exponent, self))
        if number.denominator % 2 and number.denominator > 1 and _is_negative(base):
            power = self._raise(-base, self.number(number))
            return power if number.numerator % 2 == 0 else -power
        return self._raise(base, self.number(number))

    def _raise(self, base: Any, exponent: Any) -> Any:
        if self.context.isinf(base) or self.context.isinf(exponent) or not base:
            raise NoValue("a power of zero or infinity")
        if abs(exponent * self.context.log10(abs(base))) > _MAX_MAGNITUDE:
            raise NoValue("a power is too large or too small")
        return self.context.power(base, exponent)

    def call(self, name: str, arguments: list[Any]) -> Any:
        """Return the value of a function."""
        context, first = self.context, arguments[0]
        if any(context.isinf(argument) for argument in arguments):
            raise NoValue("a function of infinity")
        if name == "root":
            return self._take_root(first, arguments[1])
        if name in ("exp", "sinh", "cosh"):
            if abs(first) > _MAX_MAGNITUDE:
                raise NoValue("a power is too large or too small")
            return getattr(context, name)(first)
        if name == "log":
            # Without a base it means ln in some books and log10 in others: a base of its own equals neither.
            base = arguments[1] if len(arguments) == 2 else self.symbol("base of log")
            return self.divide(self._take_log(first), self._take_log(base))
        if name == "lg":
            return self._take_log(first) / context.log(10)
        if name == "ln":
            return self._take_log(first)
        if name in _FUNCTIONS:
            return getattr(context, _FUNCTIONS[name])(first)
        return self._call_whole(name, arguments)

    def _call_whole(self, name: str, arguments: list[Any]) -> Any:
        context, first = self.context, arguments[0]
        if name == "abs":
            return abs(first)
        if any(isinstance(argument, context.mpc) for argument in arguments):
            raise NoValue(f"{name} takes no complex number")
        if name in ("floor", "ceil"):
            nearest = context.nint(first)
            is_whole = abs(first - nearest) < context.mpf(10) ** (-context.dps // 2)
            return nearest if is_whole else getattr(context, name)(first)
        if name in ("max", "min"):
            return {"max": max, "min": min}[name](arguments)
        raise NoValue(f"{name} has no value")

    def _take_log(self, value: Any) -> Any:
        if not value:
            raise NoValue("a logarithm of zero")
        return self.context.log(value)

    def _take_root(self, value: Any, index: Any) -> Any:
        if not value:
            return value
        if _is_negative(value) and index == self.context.nint(index) and int(index) % 2:
            return -self._raise(-value, 1 / index)
        return self._raise(value, self.divide(self.context.mpf(1), index))


def _is_negative(value: Any) -> bool:
    return not hasattr(value, "imag") or (value.imag == 0 and value.real < 0)


@functools.cache
def _get_context(digits: int) -> Any:
    from mpmath.ctx_mp import MPContext

    context = MPContext()
    context.dps = digits
    return context
