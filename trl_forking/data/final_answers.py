r"""The final answer of a text: a clean answer stays as it is, prose counts only where it says which answer is its last."""

import re

from ..rewards.math_reward import extract_boxed
from .values import LeftOut


_PROSE = "prose without a final answer"
_TWO_BOXES = "prose with two boxes side by side"
UNREADABLE = (_PROSE, _TWO_BOXES)
"""Reasons of [`~trl_forking.data.values.LeftOut`] where a text is there, but gives no answer."""

_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_LETTERS = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CJK_SENTENCE_END = re.compile(r"[\uff0c\u3002\uff1b]\s*\w")
_SENTENCE_END = re.compile(r"[.!?]\s+[^\W\d_]")
_FORMULA = r"\$\$.*?\$\$|\$[^$]*\$|\\\(.*?\\\)|\\\[.*?\\\]"
_SENTENCE = re.compile(rf"(?:{_FORMULA}|(?![.!?;](?:[\s*_)]|$)|[\n\u3002]).)+", re.DOTALL)
_THE_ANSWER_IS = re.compile(
    r"\b(?:the|my|our|so|final|correct)\s+(?:(?:final|correct|right)\s+)?answer\s+is\b"
    r"(?:\s+(?:therefore|thus|hence|then|simply|just|indeed)\b,?)?(?:\s*:)?[\s*_]*|"
    r"\u7b54\u6848(?:\u662f|\u4e3a)\s*[:\uff1a]?\s*",
    re.IGNORECASE,
)
_ANSWER_LABEL = re.compile(r"(?:the\s+)?(?:final\s+)?answer\s*(?:is\b|:)\s*:?\s*", re.IGNORECASE)
_BETWEEN_BOXES = re.compile(
    r"\}[\s$]*(?:\\[()\[\]])?[\s$]*(?:,?\s*(?:and|or|&)|,|\\text\s*\{\s*(?:and|or)\s*\}|\\q?quad)?[\s$]*(?:\\[()\[\]])?[\s$]*$"
)

# Names in a formula that is written without LaTeX, and words between two values, are no prose.
_MATH_WORDS = """
sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log exp sqrt lim mod det gcd lcm deg max min inf alpha beta
gamma delta epsilon theta lambda sigma omega infinity and or
"""
# A text of several words that has one of these is a sentence, and no value.
_SENTENCE_WORDS = """
is are was were be been being has have had having does do did will would shall should can could may might must need needs
get gets give gives gave take takes took make makes equals becomes compute computes computed find finds found know note let
suppose we it they he she you so thus hence therefore because since which then that there
"""
# Words that change what a number says, or that belong to a sentence. No value from prose may have one.
_CHANGING_WORDS = """
a an the this these those i its his her their our your my of to from in on at by with for as into onto not no than less more
fewer greater smaller larger least most about around approximately roughly nearly almost between except if when where while
but only also each every any some all obtained obvious obviously simple simply trivial unique clear clearly wrong incorrect
correct right same different unknown impossible possible left given shown above below
"""
_MATH, _VERBS = frozenset(_MATH_WORDS.split()), frozenset(_SENTENCE_WORDS.split())
_CHANGING = _VERBS | frozenset(_CHANGING_WORDS.split())
_WORD_ANSWERS = {
    "yes",
    "no",
    "true",
    "false",
    "even",
    "odd",
    "undefined",
    "zero",
    "none",
    "real",
    "solution",
    "solutions",
}
_FORMULA_SIGN = re.compile(r"[\d=+*/^<>\u221e\u03c0]|\\[a-zA-Z]")
_MAX_WORDS_OF_VALUE, _MAX_WORDS_OF_ANSWER = 3, 12
_NEARBY = 1000  # characters: an answer is not longer, so that a long text costs no more


def get_final_answer(text: str, is_clean_column: bool) -> str:
    r"""
    Get the final answer that a text gives.

    Args:
        text (`str`):
            Right answer of a row: a value such as `42`, or a whole solution.
        is_clean_column (`bool`):
            Whether the text is from a column of clean answers. Then a few words, such as `all real numbers`, are an
            answer too. In a column of solutions they are prose.

    Returns:
        `str`: a clean answer as it is written; of prose, what it gives in its last `\boxed{...}`, after `####` at its end,
            or after "the answer is".

    Raises:
        [`LeftOut`]: if prose gives no final answer, or two boxes side by side.

    Example:
    ```python
    >>> from trl_forking.data.final_answers import get_final_answer
    >>> get_final_answer("48 / 2 = 24 clips, and 48 + 24 = 72.\n#### 72", is_clean_column=True)
    '72'
    >>> get_final_answer("The speed is $240/3=80$ km per hour.", is_clean_column=False)
    Traceback (most recent call last):
        ...
    trl_forking.data.values.LeftOut: prose without a final answer
    ```
    """
    for find in (_find_boxed, _find_after_hashes, _find_after_words):
        found = find(text)
        if found is not None:
            return found
    if is_prose(text) if is_clean_column else not is_value(text):
        raise LeftOut(_PROSE)
    return text


def _find_boxed(text: str) -> str | None:
    boxed = extract_boxed(text)
    if boxed is None or not boxed.strip():
        return None
    end = text.rfind(boxed + "}")
    before, after = text[: text.rfind(r"\boxed", 0, end)], text[end + len(boxed) + 1 :]
    earlier = extract_boxed(before)
    if earlier is not None and earlier.strip() != boxed.strip():
        joint = _BETWEEN_BOXES.search(before, max(0, len(before) - _NEARBY))
        if joint is not None and joint.start() == before.rfind(earlier + "}") + len(earlier):
            raise LeftOut(_TWO_BOXES)
    # Without any prose, the answer stays as it is written.
    return boxed.strip() if _split_words(before + " " + after) else text


def _find_after_hashes(text: str) -> str | None:
    before, mark, rest = text.rpartition("####")
    after = _ANSWER_LABEL.sub("", rest.strip(), count=1)
    # A heading of Markdown looks the same, and text follows it.
    if not mark or not after or "\n" in after or not is_value(after):
        return None
    return after if _split_words(before) or after != rest.strip() else text


def _find_after_words(text: str) -> str | None:
    matches = list(_THE_ANSWER_IS.finditer(text))
    if not matches:
        return None
    after = text[matches[-1].end() :][:_NEARBY]
    sentence = _SENTENCE.match(after)
    answer = "" if sentence is None or after[sentence.end() :].startswith("?") else sentence.group().strip(" \t*_")
    if not answer or not is_value(answer):
        raise LeftOut(_PROSE)
    return answer


def _split_words(text: str) -> list[str]:
    """Split the words of a text from its formulas: at least three letters with a vowel, or a word that sentences need."""
    plain = _COMMAND.sub(" ", text)
    words = [word.lower() for word in _LETTERS.findall(_CJK.sub(" ", plain))]
    words = [word for word in words if _is_word(word)]
    # These scripts have no spaces between words.
    return words + _CJK.findall(plain)


def _is_word(word: str) -> bool:
    if len(word) < 2 or word in _MATH:
        return False
    has_vowel = any(letter in "aeiouy" or not letter.isascii() for letter in word)
    return word in _CHANGING or (len(word) > 2 and has_vowel)


def is_prose(text: str) -> bool:
    """
    Say whether a text of a column of clean answers is prose all the same.

    Args:
        text (`str`):
            Answer of a row.

    Returns:
        `bool`: whether it has more words than an answer, several sentences, or the verb of a sentence.

    Example:
    ```python
    >>> from trl_forking.data.final_answers import is_prose
    >>> [is_prose(text) for text in ("all real numbers", "We add 5 to 2, so it is 7.")]
    [False, True]
    ```
    """
    words = _split_words(text)
    if _is_derivation(text) or (words and "\n" in text.strip()) or len(words) > _MAX_WORDS_OF_ANSWER:
        return True
    return len(words) > _MAX_WORDS_OF_VALUE and (_has_sentences(text) or not _VERBS.isdisjoint(words))


def is_value(text: str) -> bool:
    r"""
    Say whether a text is a value and no sentence: a number, a formula, a name, or one of these with its unit.

    Args:
        text (`str`):
            Part of a solution.

    Returns:
        `bool`: whether it is.

    Example:
    ```python
    >>> from trl_forking.data.final_answers import is_value
    >>> [is_value(text) for text in (r"$\frac{1}{2}$", "80 km per hour", "Evelyn", "4 less than 60", "obvious")]
    [True, True, True, False, False]
    ```
    """
    words = set(_split_words(text))
    if _is_derivation(text) or _has_sentences(text):
        return False
    if words <= _WORD_ANSWERS:
        return True
    if len(_split_words(text)) > _MAX_WORDS_OF_VALUE or words & _CHANGING:
        return False
    is_name = all(word[0].isupper() for word in _LETTERS.findall(_COMMAND.sub(" ", text)))
    return is_name or bool(_FORMULA_SIGN.search(text))


def _is_derivation(text: str) -> bool:
    """Whether a text has several lines with equations: the last of them need not be the answer."""
    return "\n" in text.strip() and text.count("=") > 1


def _has_sentences(text: str) -> bool:
    has_chinese = bool(_CJK.search(text) and _CJK_SENTENCE_END.search(text))
    return has_chinese or bool(_SENTENCE_END.search(text))
