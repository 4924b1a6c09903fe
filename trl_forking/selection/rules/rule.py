"""A rule with what is known of it, and the decorator that says what a user's own rule needs."""

from collections.abc import Callable
from typing import NamedTuple

from .token_plan import TokenPlan
from .token_stats import COSTLY_STATISTICS, TokenStats


RuleFunction = Callable[[TokenStats], TokenPlan]
"""A rule: it sees the statistics of the tokens and decides what is trained."""


class Paper(NamedTuple):
    """
    Where a rule comes from.

    Attributes:
        key (`str`): key of the BibTeX entry.
        title (`str`): title.
        authors (`str`): authors as BibTeX writes them; empty if they are not known.
        year (`int`): year.
        arxiv (`str`): number of the paper on arXiv; empty if it is not there.
        url (`str`): address; empty if it is that of arXiv.

    Example:
    ```python
    >>> print(Paper("doe2026tokens", "Tokens", "Jane Doe", 2026, "2601.00001").format_bibtex())
    @misc{doe2026tokens,
        title  = {{Tokens}},
        author = {Jane Doe},
        year   = 2026,
        eprint = {arXiv:2601.00001},
    }
    ```
    """

    key: str
    title: str
    authors: str
    year: int
    arxiv: str = ""
    url: str = ""

    @property
    def link(self) -> str:
        """Address of the paper."""
        return self.url or f"https://huggingface.co/papers/{self.arxiv}"

    def format_bibtex(self) -> str:
        """Return the entry for a bibliography."""
        entries = {"title": f"{{{{{self.title}}}}}", "author": f"{{{self.authors}}}", "year": str(self.year)}
        entries["eprint" if self.arxiv else "url"] = f"{{arXiv:{self.arxiv}}}" if self.arxiv else f"{{{self.url}}}"
        lines = [f"    {name:6s} = {value}," for name, value in entries.items() if value != "{}"]
        return "\n".join([f"@misc{{{self.key},", *lines, "}"])


class Rule(NamedTuple):
    r"""
    A rule and what is known of it.

    Attributes:
        name (`str`): what `token_selection` calls it, or where a user's own function stands.
        function (`Callable`): the rule.
        needs (`tuple[str]`): statistics that are computed for it, of [`COSTLY_STATISTICS`].
        uses_share (`bool`): whether it keeps `top_entropy_quantile` of the tokens, so that 1.0 is plain GRPO.
        weighs (`bool`): whether it weights tokens, or gives them clip ranges.
        selects (`str`): what it selects, in a few words.
        equation (`str`): the same as a formula, in LaTeX.
        paper ([`Paper`], *optional*): where it comes from.
        cost (`str`): what it computes that `high_entropy` does not.

    Example:
    ```python
    >>> def keep_all(stats):
    ...     return TokenPlan(keep=stats.mask)
    >>> Rule("keep_all", keep_all).needs
    ()
    ```
    """

    name: str
    function: RuleFunction
    needs: tuple[str, ...] = ()
    uses_share: bool = False
    weighs: bool = False
    selects: str = "a rule of the user's own"
    equation: str = ""
    paper: Paper | None = None
    cost: str = "nothing more"


def token_rule(needs: tuple[str, ...] = ()) -> Callable[[RuleFunction], RuleFunction]:
    """
    Say what a rule needs beside the entropies. It is computed for this rule, and for no other.

    Args:
        needs (`tuple[str]`, *optional*):
            Names among `"log_prob"`, `"sum_sq_probs"` and `"is_top1"`.

    Returns:
        `Callable`: a decorator.

    Raises:
        `ValueError`: if there is no such statistic.

    Example:
    ```python
    >>> @token_rule(needs=("log_prob",))
    ... def keep_surprising(stats):
    ...     return TokenPlan(scores=-stats.log_prob)
    >>> keep_surprising.needs
    ('log_prob',)
    ```
    """
    needs = (needs,) if isinstance(needs, str) else tuple(needs)
    for name in needs:
        if name not in COSTLY_STATISTICS:
            raise ValueError(
                f"A token rule needs {name!r}, which is not one of {', '.join(map(repr, COSTLY_STATISTICS))}: name "
                "one of these. All other statistics are always there."
            )

    def decorate(function: RuleFunction) -> RuleFunction:
        function.needs = needs  # type: ignore[attr-defined]
        return function

    return decorate
