"""Units: which words are units, what they measure, and how much one of them is."""

from fractions import Fraction
from typing import NamedTuple

from .words import CLOSED_CLASSES, is_plural, make_singular


class Unit(NamedTuple):
    """
    A unit.

    Args:
        powers (`tuple[tuple[str, int], ...]`):
            What it measures: base units with their exponents, in the order of their names. Base units are known ones,
            such as `"m"`, and nouns, such as `"red ball"`.
        factor (`Fraction`, *optional*, defaults to 1):
            How many base units it is.
        is_known (`bool`, *optional*, defaults to `True`):
            Whether it is a unit of measurement, not a noun.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.units import find_unit
    >>> find_unit("km") == find_unit("kilometers"), find_unit("km").factor, find_unit("apples")
    (True, Fraction(1000, 1), None)
    ```
    """

    powers: tuple[tuple[str, int], ...]
    factor: Fraction = Fraction(1)
    is_known: bool = True


# Base unit, how many of it, and the names.
_WORDS = """
    m 1 meter metre mtr; m 0.0254 inch in; m 0.3048 foot ft feet; m 0.9144 yard yd; m 1609.344 mile mi;
    g 1 gram gramme gm gms; g 453.59237 pound lb lbs; g 28.349523125 ounce oz; g 1000000 tonne; g 907184.74 ton;
    s 1 second sec secs; s 60 minute min mins; s 3600 hour hr hrs; s 86400 day; s 604800 week wk;
    month 1 month; month 12 year yr yrs; month 120 decade; month 1200 century centuries;
    m^3 0.001 liter litre; m^3 0.000001 cc; m^3 0.003785411784 gallon gal; m^3 0.000946352946 quart;
    m^3 0.000473176473 pint; m^3 0.0002365882365 cup; m^2 10000 hectare ha; m^2 4046.8564224 acre;
    percent 1 percent pct percentage; degree 1 degree deg; degree 1/60 arcminute; degree 1/3600 arcsecond; radian 1 radian rad; radian 1 rads;
    celsius 1 celsius centigrade; fahrenheit 1 fahrenheit; kelvin 1 kelvin;
    dollar 1 dollar buck usd; dollar 0.01 cent; euro 1 euro eur; sterling 1 quid gbp; rupee 1 rupee rs inr; yen 1 yen jpy;
    yuan 1 yuan rmb cny; newton 1 newton; joule 1 joule; watt 1 watt; volt 1 volt; ampere 1 ampere amp; ohm 1 ohm;
    hertz 1 hertz; pascal 1 pascal; mole 1 mole; coulomb 1 coulomb; joule 4.184 calorie cal; joule 4184 kcal; bit 1 bit;
    bit 8 byte; unit 1 unit; unit^2 1 sq-unit
"""
_SPEEDS = {"mph": ("mile", "hour"), "kmh": ("km", "hour"), "kph": ("km", "hour"), "kmph": ("km", "hour")}
_SYMBOLS = {
    "m": ("m", "1"), "g": ("g", "1"), "s": ("s", "1"), "h": ("s", "3600"), "L": ("m^3", "0.001"), "l": ("m^3", "0.001"),
    "N": ("newton", "1"), "J": ("joule", "1"), "W": ("watt", "1"), "V": ("volt", "1"), "A": ("ampere", "1"),
    "Hz": ("hertz", "1"), "Pa": ("pascal", "1"), "mol": ("mole", "1"), "K": ("kelvin", "1"), "C": ("coulomb", "1"),
    "eV": ("electronvolt", "1"),
}  # fmt: skip
_PREFIXES = {"k": 3, "M": 6, "G": 9, "T": 12, "d": -1, "c": -2, "m": -3, "n": -9, "p": -12, "u": -6}
_PREFIX_WORDS = {
    "kilo": 3,
    "mega": 6,
    "giga": 9,
    "tera": 12,
    "deci": -1,
    "centi": -2,
    "milli": -3,
    "micro": -6,
    "nano": -9,
}
_PREFIXED_WORDS = ("meter", "metre", "gram", "liter", "litre", "second", "newton", "joule", "watt", "volt", "ampere",
                   "ohm", "hertz", "pascal", "byte", "bit", "calorie")  # fmt: skip
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "sterling", "¥": "yen", "₹": "rupee", "¢": "cent"}


def _make_base(name: str, factor: Fraction) -> Unit:
    base, _, power = name.partition("^")
    return Unit(((base, int(power or 1)),), factor)


def _fill_table() -> dict[str, Unit]:
    table = {}
    for symbol, (base, size) in _SYMBOLS.items():
        table[symbol] = _make_base(base, Fraction(size))
        if symbol != "h":
            table |= {
                prefix + symbol: _make_base(base, Fraction(size) * Fraction(10) ** power)
                for prefix, power in _PREFIXES.items()
            }
    for entry in _WORDS.replace("\n", " ").split(";"):
        base, size, *names = entry.split()
        for name in names:
            table[name] = _make_base(base, Fraction(size))
    for prefix, power in _PREFIX_WORDS.items():
        for name in _PREFIXED_WORDS:
            unit = table[name]
            table[prefix + name] = unit._replace(factor=unit.factor * Fraction(10) ** power)
    del table["pm"]  # an hour after noon
    table["sterling"] = _make_base("sterling", Fraction(1))
    return table


_TABLE = _fill_table()


def find_unit(word: str) -> Unit | None:
    """
    Find the unit of measurement that a word names.

    Args:
        word (`str`):
            Name, plural or symbol of a unit.

    Returns:
        [`Unit`] or `None`: the unit, `None` if the word is none.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.units import find_unit
    >>> find_unit("inches").factor, find_unit("mg").factor, find_unit("Mg").factor
    (Fraction(127, 5000), Fraction(1, 1000), Fraction(1000000, 1))
    ```
    """
    if word in _CURRENCIES:
        return _TABLE[_CURRENCIES[word]]
    small = word.lower()
    if small in _SPEEDS:
        top, bottom = _SPEEDS[small]
        return combine([(_TABLE[top], 1), (_TABLE[bottom], -1)])
    for name in (word, small, make_singular(word)):
        if name in _TABLE and (len(name) > 1 or name == word):
            return _TABLE[name]
    return None


def get_unit(name: str) -> Unit:
    """
    Return a unit of measurement that is known.

    Args:
        name (`str`):
            Its name.

    Returns:
        [`Unit`]: the unit.

    Raises:
        `KeyError`: if there is no such unit.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.units import get_unit
    >>> get_unit("degree").powers
    (('degree', 1),)
    ```
    """
    return _TABLE[name]


def combine(factors: list[tuple[Unit, int]]) -> Unit:
    """
    Multiply units.

    Args:
        factors (`list[tuple[Unit, int]]`):
            Units with their exponents.

    Returns:
        [`Unit`]: their product.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.units import combine, find_unit
    >>> combine([(find_unit("km"), 1), (find_unit("h"), -1)]) == find_unit("kmh")
    True
    ```
    """
    powers: dict[str, int] = {}
    factor = Fraction(1)
    for unit, exponent in factors:
        factor *= unit.factor**exponent
        for base, power in unit.powers:
            powers[base] = powers.get(base, 0) + power * exponent
    is_known = all(unit.is_known for unit, _ in factors)
    return Unit(tuple(sorted((base, power) for base, power in powers.items() if power)), factor, is_known)


def find_noun(words: list[str], is_one: bool) -> Unit | None:
    """
    Read a noun phrase that is counted, such as `red balls`.

    Args:
        words (`list[str]`):
            Its words.
        is_one (`bool`):
            Whether the number before it is one, so that the noun is no plural.

    Returns:
        [`Unit`] or `None`: the noun as a unit. `None` if a word changes the meaning of the number, or the last noun is no
        plural although it is counted.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.units import find_noun
    >>> find_noun(["red", "balls"], False).powers, find_noun(["or", "more"], False)
    ((('red ball', 1),), None)
    ```
    """
    words = [word.lower() for word in words]
    head = words[: words.index("of")] if "of" in words[1:-1] else words
    if not 1 <= len(words) <= 4 or any(word in CLOSED_CLASSES or word.endswith("ly") for word in words):
        return None
    if not (is_plural(head[-1]) or is_one) or any(len(word) == 1 for word in words):
        return None
    return Unit(
        ((" ".join([*words[: len(head) - 1], make_singular(head[-1]), *words[len(head) :]]), 1),), is_known=False
    )
