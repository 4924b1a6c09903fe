"""Values modulo a prime: a quick and safe test whether two polynomials are the same."""

from fractions import Fraction

from .evaluate import NoValue, Rationals, evaluate, hash_text
from .tree import Node


class Residues:
    """
    Values modulo a prime of 61 bits, with fixed random values of the variables.

    Two polynomials or rational functions that differ have different values, but for a chance of about 1e-15. Neither
    is written out, so `(x+y+z)^{900}` costs nothing.

    Args:
        seed (`int`):
            Number of the random values.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.evaluate import evaluate
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> from trl_forking.rewards.comparison.residues import Residues
    >>> left, right = parse_text("(x+1)^2"), parse_text("x^2+2x+1")
    >>> evaluate(left, Residues(0)) == evaluate(right, Residues(0))
    True
    ```
    """

    prime = 2**61 - 1
    _MAX_EXPONENT = 10**6

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def number(self, value: Fraction) -> "Residue":
        """Return the residue of a fraction."""
        return self.divide(Residue(value.numerator), Residue(value.denominator))

    def symbol(self, name: str) -> "Residue":
        """Return the random value of a variable."""
        return Residue(hash_text(f"{self._seed} {name}"))

    def constant(self, name: str) -> "Residue":
        """Return a random value for `pi` and `e`, of which no polynomial is zero."""
        if name in ("i", "infinity"):
            raise NoValue(f"{name} is no element of the field")
        return Residue(hash_text(f"{self._seed} constant {name}"))

    def divide(self, top: "Residue", bottom: "Residue") -> "Residue":
        """Return the quotient."""
        if not bottom.value:
            raise NoValue("it divides by zero")
        return top * Residue(pow(bottom.value, -1, self.prime))

    def power(self, base: "Residue", exponent: Node) -> "Residue":
        """Return the power, if the exponent is a whole number."""
        number = evaluate(exponent, Rationals())
        if number.denominator != 1 or abs(number) > self._MAX_EXPONENT or (not base.value and number <= 0):
            raise NoValue("an exponent is no small whole number")
        return Residue(pow(base.value, int(number), self.prime))

    def call(self, name: str, arguments: list["Residue"]) -> "Residue":
        """Return a value for a function of which only the name is known, such as f(x)."""
        if not name.endswith("()"):
            raise NoValue(f"{name} is no polynomial")
        return Residue(hash_text(f"{self._seed} {name} {[argument.value for argument in arguments]}"))


class Residue:
    """
    A number modulo the prime of [`Residues`].

    Args:
        value (`int`):
            The number.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.residues import Residue
    >>> (-Residue(1)).value == Residue(-1).value
    True
    ```
    """

    def __init__(self, value: int) -> None:
        self.value = value % Residues.prime

    def __add__(self, other: "Residue") -> "Residue":
        return Residue(self.value + other.value)

    def __mul__(self, other: "Residue") -> "Residue":
        return Residue(self.value * other.value)

    def __neg__(self) -> "Residue":
        return Residue(-self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Residue) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)
