"""Words beside a number: those that are part of it, those that change its meaning, and those that do neither."""

MAGNITUDES = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15,
    "dozen": 12, "gross": 144, "tens": 10, "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
MAGNITUDES |= {f"{name}s": value for name, value in MAGNITUDES.items() if name != "gross"}
# Short forms, which are letters of a formula outside of `\text{}`: 3mn is a product.
SHORT_MAGNITUDES = {"mn": 10**6, "bn": 10**9}

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMBERS = {name: value for value, name in enumerate(_ONES)} | {name: 10 * k for k, name in enumerate(_TENS, start=2)}

# Words that say nothing about the answer.
HARMLESS = {
    "exactly",
    "precisely",
    "only",
    "just",
    "total",
    "altogether",
    "overall",
    "therefore",
    "thus",
    "hence",
    "so",
}
ARTICLES = {"the", "a", "an"}

APPROXIMATIONS = {
    "about",
    "approximately",
    "approx",
    "around",
    "roughly",
    "nearly",
    "almost",
    "circa",
    "ca",
    "approximate",
}

# Words with which a noun phrase cannot be a unit: they compare, deny, choose, count again or make a sentence. English
# adds no new ones to these classes.
_CLOSED_CLASSES = """
    not no non never none neither nor without except but however instead rather isn't aren't cannot can't won't
    or and either both if when where while unless because since whether though although than then else as
    more less fewer greater smaller larger higher lower bigger most least many much few several some any all every each
    other another same different extra additional remaining left over under above below beyond within between among up
    down at to from into onto in on off out by for with about around through during before after until against
    is are was were be been being am has have had having do does did doing will would shall should can could may might
    must seems equals equal gives becomes
    i you he she it we they me him her us them this that these those who whom which what there here my your his its our
    their
    maximum minimum max min approximately approx nearly almost roughly circa possibly probably perhaps maybe likely about
    upper bound bounds rounded estimated rejected
    sometimes always often usually hardly barely already still yet too also again very quite
    wrong right true false correct incorrect impossible possible invalid valid undefined unknown undetermined infinite
    infinity infinitely finite error mistake guess answer answers result
    plus minus times divided multiplied squared cubed half halves third thirds quarter quarters fourth fourths fifth
    fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths twelfth twelfths hundredth hundredths
    thousandth thousandths millionth millionths twice double triple thrice fold factorial mod modulo remainder root
    square-root power powers base log negative positive inverse reciprocal ratio percent pair pairs score set sets
    lies fails loses works holds goes
"""
CLOSED_CLASSES = frozenset(_CLOSED_CLASSES.split()) | set(MAGNITUDES) | set(NUMBERS) | {f"{name}s" for name in NUMBERS}

# Words of a sentence: verbs, pronouns and what joins clauses. No name of a thing has them.
SENTENCE_WORDS = frozenset(
    "is are was were be been being am has have had do does did will would shall should can could may might must gives becomes "  # noqa: SIM905
    "takes makes needs gets costs i you he she it we they me him her us them this that these those who which what there here "
    "my your his its our their because since so therefore thus if when while where answer see to at".split()
)

_IRREGULAR = {
    "children": "child", "people": "person", "men": "man", "women": "woman", "feet": "foot", "inches": "inch", "mice": "mouse",
    "geese": "goose", "teeth": "tooth", "dice": "die", "vertices": "vertex", "halves": "half", "knives": "knife",
    "leaves": "leaf", "loaves": "loaf", "wolves": "wolf", "shelves": "shelf", "lives": "life", "sheep": "sheep",
    "fish": "fish", "deer": "deer", "oxen": "ox", "matrices": "matrix", "indices": "index", "axes": "axis", "bus": "bus",
    "gas": "gas", "glass": "glass", "class": "class", "dress": "dress", "moose": "moose", "aircraft": "aircraft",
    "indexes": "index", "radii": "radius", "foci": "focus", "series": "series", "species": "species",
}  # fmt: skip


def make_singular(word: str) -> str:
    """
    Return the singular of an English noun.

    Args:
        word (`str`):
            Noun, singular or plural.

    Returns:
        `str`: the singular in small letters.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.words import make_singular
    >>> [make_singular(word) for word in ("Apples", "boxes", "ponies", "people", "bus")]
    ['apple', 'box', 'pony', 'person', 'bus']
    ```
    """
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 2 else word


def is_plural(word: str) -> bool:
    """
    Say whether an English noun is a plural.

    Args:
        word (`str`):
            A noun.

    Returns:
        `bool`: whether it is.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.words import is_plural
    >>> is_plural("chickens"), is_plural("fish"), is_plural("maybe")
    (True, True, False)
    ```
    """
    word = word.lower()
    return make_singular(word) != word or word in ("sheep", "fish", "deer", "moose", "aircraft", "series", "species")


def fold_case(word: str) -> str:
    """
    Write a word without the capital of its first letter. Names of points such as `AB` keep theirs.

    Args:
        word (`str`):
            A word.

    Returns:
        `str`: the word. It stays as it is if it has one letter, or capitals inside.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.words import fold_case
    >>> [fold_case(word) for word in ("January", "YES", "AB", "Ab", "x")]
    ['january', 'yes', 'AB', 'Ab', 'x']
    ```
    """
    if word.lower() in ("yes", "no", "true", "false", "none", "even", "odd", "dne"):
        return word.lower()
    return word.lower() if len(word) > 2 and word[1:].islower() else word
