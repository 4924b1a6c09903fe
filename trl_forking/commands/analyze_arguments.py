"""The flags of `trl-forking analyze`. This module imports no torch."""

from dataclasses import dataclass, field

from ..run.user_errors import check_at_least
from ..selection.rules import check_rule_module, check_rule_name, is_import_path
from .answer_arguments import AnswerArguments


@dataclass
class AnalyzeArguments(AnswerArguments):
    """
    Which model `trl-forking analyze` looks at, and what it shows.

    Parameters:
        model_name_or_path (`str`):
            Folder of a model or adapter, a name of the Hub, a `.gguf` file, or `"countdown"`.
        top_alternatives (`int`, *optional*, defaults to `5`):
            Number of alternatives that are noted at every token.
        min_count (`int`, *optional*):
            How often a token must occur to be in the lists. The default is 101, as in the paper. With fewer than 101,000
            tokens it is a thousandth of them, but at least 5.
        hes (`bool`, *optional*, defaults to `False`):
            Whether to score each answer by the sum of its highest 0.5 % entropies.
        max_answers (`int`, *optional*, defaults to `256`):
            Largest number of answers on the page.
        token_selection (`str`, *optional*):
            Rule whose tokens the page marks, with its score on hover: a name that `trl-forking rules` lists, or an import path.
            Several with commas between them are also compared, and the page marks the tokens of the first one.

    Raises:
        `ValueError`: if a value is missing or out of its range.

    Example:
    ```python
    >>> from trl_forking.commands.analyze_arguments import AnalyzeArguments
    >>> AnalyzeArguments(prompts="countdown", model_name_or_path="countdown").output_dir
    'runs/analysis'
    ```
    """

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Folder of a model or adapter, name of the Hub, `.gguf` file, or `countdown`."}
    )
    top_alternatives: int = field(
        default=5, metadata={"help": "Number of alternatives that are noted at every token."}
    )
    min_count: int | None = field(
        default=None, metadata={"help": "How often a token must occur to be listed; at most 101 by default."}
    )
    hes: bool = field(default=False, metadata={"help": "Score each answer by the sum of its highest 0.5 % entropies."})
    max_answers: int = field(default=256, metadata={"help": "Largest number of answers on the page."})
    token_selection: str | None = field(
        default=None,
        metadata={"help": "Rule whose tokens the page marks (`trl-forking rules`); several with commas are compared."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model_name_or_path is None:
            raise ValueError("model_name_or_path is missing: give a model of the Hub, a folder, or countdown.")
        check_at_least(0, self, "top_alternatives")
        check_at_least(1, self, "max_answers", "min_count")
        for name in self.list_rules():
            try:
                check_rule_name(name)
                if is_import_path(name):
                    check_rule_module(name)
                    self._import_rule(name)
            except ValueError as error:
                raise ValueError(f"token_selection: {error}") from None

    def list_rules(self) -> list[str]:
        """Return the names in `token_selection`."""
        return [name.strip() for name in (self.token_selection or "").split(",") if name.strip()]

    def _import_rule(self, path: str) -> None:
        from ..selection.rules import find_rule  # which imports torch

        find_rule(path)
