"""The columns that `log_entropy=True` adds to the table of logged completions."""

from typing import Any

import torch

from .token_texts import TokenTexts


class Summarised(list):
    """A list that trackers and parquet files get whole, and a terminal table as a few words."""

    def __init__(self, values: list, summary: str):
        super().__init__(values)
        self.summary = summary

    def __str__(self) -> str:
        return self.summary

    def __reduce__(self) -> tuple[Any, ...]:
        return Summarised, (list(self), self.summary)  # ranks send it to one another


def build_entropy_columns(
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    entropies: torch.Tensor,
    kept: torch.Tensor,
    tokenizer: Any,
) -> dict[str, list]:
    """
    Build the columns `tokens` (text), `entropies` (nats), `kept` (flags), lists for each answer, and `marked`, its text.

    Args:
        completion_ids (`torch.Tensor` of shape `(B, T)`):
            Token ids.
        completion_mask (`torch.Tensor` of shape `(B, T)`):
            1 for tokens of the answer, 0 for padding.
        entropies (`torch.Tensor` of shape `(B, T)`):
            Entropies in nats.
        kept (`torch.Tensor` of shape `(B, T)`):
            Tokens that are trained.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer; the tokens of an answer join to what it decodes to.

    Returns:
        `dict[str, list]`: three columns of `B` lists, which show their kept tokens or a count where they are printed, and
        the answers with their kept tokens in brackets.

    Example:
    ```python
    >>> import torch
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> tokenizer = load_countdown_tokenizer()
    >>> ids = tokenizer("3 * 5", return_tensors="pt")["input_ids"]
    >>> entropies, kept = torch.tensor([[0.5, 1.5, 0.25]]), torch.tensor([[False, True, False]])
    >>> columns = build_entropy_columns(ids, torch.ones_like(ids), entropies, kept, tokenizer)
    >>> columns["tokens"] == [["3", " *", " 5"]], str(columns["tokens"][0]), str(columns["entropies"][0])
    (True, '*', 'mean 0.750')
    ```
    """
    columns: dict[str, list] = {"tokens": [], "entropies": [], "kept": [], "marked": []}
    texts = TokenTexts(tokenizer)
    for row, mask in enumerate(completion_mask.bool()):
        tokens = texts.split(completion_ids[row][mask].tolist())
        values, flags = entropies[row][mask].float().tolist(), kept[row][mask].tolist()
        forks = " ".join(token.strip() for token, flag in zip(tokens, flags, strict=True) if flag)
        columns["tokens"].append(Summarised(tokens, forks))
        columns["entropies"].append(Summarised(values, f"mean {sum(values) / max(len(values), 1):.3f}"))
        columns["kept"].append(Summarised(flags, f"{sum(flags)} of {len(flags)}"))
        columns["marked"].append(mark_kept(tokens, flags))
    return columns


def mark_kept(tokens: list[str], kept: list[bool]) -> str:
    """
    Write an answer with its kept tokens in brackets, for tables that show text only.

    Args:
        tokens (`list[str]`):
            Text that each token adds.
        kept (`list[bool]`):
            Whether it is trained.

    Returns:
        `str`: text.

    Example:
    ```python
    >>> mark_kept(["So", " it", " is"], [False, True, False])
    'So [it] is'
    ```
    """
    return "".join(_bracket(token) if is_kept else token for token, is_kept in zip(tokens, kept, strict=True))


def _bracket(token: str) -> str:
    text = token.strip()
    return token.replace(text, f"[{text}]", 1) if text else f"[{token!r}]"
