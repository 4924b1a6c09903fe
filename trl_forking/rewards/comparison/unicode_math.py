"""Unicode characters of mathematics, written as LaTeX."""

import re
import unicodedata


_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣʸ", "0123456789+-=()nixy", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑᵢⱼₖₘₙₚₓ", "0123456789+-=()aeijkmnpx", strict=True))

_FRACTIONS = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5),
    "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8), "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "ϑ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi",
    "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi",
    "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip

_COMMANDS = {
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "∗": "*", "÷": r"\div ", "∕": "/",
    "⁄": "/", "±": r"\pm ", "∓": r"\mp ", "≤": r"\le ", "≦": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "≧": r"\ge ",
    "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx ", "≅": r"\cong ", "∼": r"\sim ", "≡": r"\equiv ",
    "∞": r"\infty ", "°": r"^{\circ}", "º": r"^{\circ}", "∘": r"\circ ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ",
    "⌀": r"\emptyset ", "∈": r"\in ", "∉": r"\notin ", "∖": r"\setminus ", "⊂": r"\subset ", "⊆": r"\subseteq ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "→": r"\to ",
    "⇒": r"\Rightarrow ", "⇔": r"\Leftrightarrow ", "∠": r"\angle ", "△": r"\triangle ", "∥": r"\parallel ",
    "⊥": r"\perp ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∂": r"\partial ", "∇": r"\nabla ", "′": "'",
    "″": "''", "…": r"\ldots ", "⋯": r"\cdots ", "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
    "⌈": r"\lceil ", "⌉": r"\rceil ", "∣": r"\mid ", "ℓ": "l", "ℯ": "e", "ⅇ": "e", "ⅈ": "i", "ⅉ": "j",
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "➖": "-", "’": "'", "‘": "'", "“": '"',
    "”": '"', "，": ",", "、": ",", "；": ";", "。": ".", "％": "%", "￥": "¥", "µ": r"\mu ", "Ω": r"\Omega ",
}  # fmt: skip

_TABLE = str.maketrans(
    {character: rf"\{name} " for character, name in _GREEK.items()}
    | {character: rf"\frac{{{top}}}{{{bottom}}}" for character, (top, bottom) in _FRACTIONS.items()}
    | _COMMANDS
)
_SUPERSCRIPT_TABLE = str.maketrans("".join(_SUPERSCRIPTS), "".join(_SUPERSCRIPTS.values()))
_SUBSCRIPT_TABLE = str.maketrans("".join(_SUBSCRIPTS), "".join(_SUBSCRIPTS.values()))
_SUPERSCRIPT = re.compile(f"[{''.join(map(re.escape, _SUPERSCRIPTS))}]+")
_SUBSCRIPT = re.compile(f"[{''.join(map(re.escape, _SUBSCRIPTS))}]+")
_ROOT = re.compile(r"([²³⁴ⁿ])?([√∛∜])\s*(\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z])|π)?")
_ROOT_INDEX = {"∛": "3", "∜": "4"}
_OVERLINED = re.compile("((?:\\d[\u0305\u0304])+)")


def write_as_latex(text: str) -> str:
    r"""
    Replace the Unicode characters of mathematics by LaTeX, and full-width forms by ASCII.

    Args:
        text (`str`):
            Any text.

    Returns:
        `str`: the text without invisible characters. Characters that stand for nothing in LaTeX stay as they are.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.unicode_math import write_as_latex
    >>> write_as_latex("x² − √2 ≤ ½")
    'x^{2} - \\sqrt{2} \\le  \\frac{1}{2}'
    >>> write_as_latex("４２")
    '42'
    ```
    """
    if text.isascii():
        return "".join(character for character in text if character >= " " or character in "\n\t")
    text = _OVERLINED.sub(lambda match: rf"\overline{{{re.sub('[^0-9]', '', match[1])}}}", text)
    text = _ROOT.sub(_write_root, text)
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPT_TABLE)}}}", text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{match[0].translate(_SUBSCRIPT_TABLE)}}}", text)
    # NFKC would take a superscript for a digit, so it comes after them.
    text = unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)
    return "".join(character for character in text if not _is_invisible(character))


def _write_root(match: re.Match[str]) -> str:
    index = _SUPERSCRIPTS[match[1]] if match[1] else _ROOT_INDEX.get(match[2])
    root = rf"\sqrt[{index}]" if index else r"\sqrt"
    return root + (f"{{{match[3]}}}" if match[3] else " ")


def _is_invisible(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn")
