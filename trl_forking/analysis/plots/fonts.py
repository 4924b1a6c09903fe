"""Chooses fonts that show the characters of a text: DejaVu Sans, which comes with matplotlib, and other installed fonts."""

import functools
import re
from collections.abc import Iterable
from logging import getLogger


logger = getLogger(__name__)

_FIRST = "DejaVu Sans"
# Fonts made for text on a screen come first, then all others in the order of their names.
_PREFERRED = ("Noto Sans", "Source Han Sans", "WenQuanYi", "Arial Unicode", "PingFang", "Microsoft YaHei")
# Fonts that come with matplotlib and are of no use here. Those for formulas have other signs in the places of letters.
_USELESS = re.compile("cm[a-z]+10|STIX(NonUnicode|Size)|Last Resort|DejaVu .* (Display|Condensed|Light)")


def choose_fonts(texts: Iterable[str]) -> tuple[list[str], set[str]]:
    """
    Choose the fonts that together show some texts.

    Args:
        texts (iterable of `str`):
            Texts in any script.

    Returns:
        `tuple`: names of font families (`list[str]`), which matplotlib tries in this order, and the characters
        (`set[str]`) that no installed font has.

    Example:
    ```python
    >>> choose_fonts(["wait", "naïve"])
    (['DejaVu Sans'], set())
    ```
    """
    families, missing = [_FIRST], _find_missing(_FIRST, {character for text in texts for character in text})
    for family in _list_families() if missing else ():
        still_missing = _find_missing(family, missing)
        if still_missing != missing:
            families.append(family)
            missing = still_missing
        if not missing:
            break
    return families, missing


def _list_families() -> list[str]:
    from matplotlib.font_manager import fontManager

    names = {entry.name for entry in fontManager.ttflist if not _USELESS.match(entry.name)}
    ranks = {name: next((i for i, start in enumerate(_PREFERRED) if name.startswith(start)), 99) for name in names}
    return sorted(names, key=lambda name: (ranks[name], name))


def _find_missing(family: str, characters: set[str]) -> set[str]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    try:  # the file that matplotlib will draw with
        font = get_font(findfont(FontProperties(family=family), fallback_to_default=False))
    except (ValueError, OSError, RuntimeError):  # a file that was removed, or one that FreeType cannot read
        return characters
    return {character for character in characters if not font.get_char_index(ord(character))}


@functools.cache
def warn_of_missing_fonts() -> None:
    """Say once in a program that words are left out of a picture, and what to install."""
    logger.warning(
        "No installed font has the characters of some words, so the picture of words leaves them out. Install a font of "
        "their script, such as Noto Sans CJK for Chinese, Japanese and Korean. The tables show all words."
    )
