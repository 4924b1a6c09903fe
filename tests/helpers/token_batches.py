"""Batches of tokens with made-up logits, their statistics by loops in float64, and a selector that asks one rule."""

import math
import random
from dataclasses import dataclass
from typing import Any

import torch

from helpers.reference import entropy
from trl_forking import ForkingGRPOConfig
from trl_forking.selection.rules import RULES, Choice, TokenStats, ask_rule
from trl_forking.selection.token_selector import Moment, Selection, TokenSelector, get_loss_mask


ADVANTAGES = [1.5, -0.5, 0.0, 0.25, -1.0, -0.25]
LENGTHS = [9, 4, 6, 1, 9, 7]
NUM_COLUMNS, VOCABULARY_SIZE = 9, 7


@dataclass
class Token:
    """One token, by loops in float64. Only counted tokens are listed, so that every advantage differs from zero."""

    row: int
    position: int
    number: int  # 0 for the first counted token of its answer
    length: int
    advantage: float
    entropy: float
    log_prob: float
    sum_sq_probs: float
    is_top1: bool


def build_tokens(seed: int = 0) -> list[Token]:
    source = random.Random(seed)
    tokens = []
    for row, (advantage, length) in enumerate(zip(ADVANTAGES, LENGTHS, strict=True)):
        for position in range(length):
            scale = source.choice([0.3, 2.0, 6.0])
            logits = [scale * source.gauss(0, 1) for _ in range(VOCABULARY_SIZE)]
            total = sum(math.exp(logit) for logit in logits)
            probabilities = [math.exp(logit) / total for logit in logits]
            drawn = source.choices(range(VOCABULARY_SIZE), probabilities)[0]
            if advantage:
                tokens.append(
                    Token(
                        *(row, position, position, length, advantage),
                        entropy(logits),
                        math.log(probabilities[drawn]),
                        sum(p * p for p in probabilities),
                        probabilities[drawn] == max(probabilities),
                    )
                )
    return tokens


def build_batch() -> dict[str, torch.Tensor]:
    mask = torch.arange(NUM_COLUMNS) < torch.tensor(LENGTHS).unsqueeze(1)
    row_ids = torch.arange(len(LENGTHS))
    return {"completion_mask": mask.long(), "advantages": torch.tensor(ADVANTAGES), "row_ids": row_ids}


def fill(tokens: list[Token], name: str) -> torch.Tensor:
    """A statistic of the tokens as `(B, T)`, with nonsense at all other places."""
    values = torch.full((len(LENGTHS), NUM_COLUMNS), 77.0)
    for token in tokens:
        values[token.row, token.position] = float(getattr(token, name))
    return values


def take_rows(batch: dict[str, torch.Tensor], rows: list[int]) -> dict[str, torch.Tensor]:
    return {name: value[rows] for name, value in batch.items()}


def select(tokens: list[Token], seed: int = 0, rule: Any = None, **settings: Any) -> Selection:
    selector = build_selector(rule, **settings)
    costly = {name: fill(tokens, name) for name in selector.rule.needs}
    return selector.select(build_batch(), fill(tokens, "entropy"), seed, Moment(num_generations=2, costly=costly))


def draw(tokens: list[Token], name: str, seed: int, share: float, scope: str = "batch") -> Choice:
    """What a rule without needs keeps and weights, without the metrics, which take most of the time of a selection."""
    batch, mask = build_batch(), get_loss_mask(build_batch())
    advantages, rows = (batch[key].unsqueeze(1).expand_as(mask) for key in ("advantages", "row_ids"))
    stats = TokenStats(
        mask & (advantages != 0), fill(tokens, "entropy"), advantages, rows, share=share, scope=scope, seed=seed
    )
    return ask_rule(RULES[name], stats, mask)


def build_selector(rule: Any = None, **settings: Any) -> TokenSelector:
    return TokenSelector(ForkingGRPOConfig("runs/none", use_cpu=True, **settings), rule=rule)


def list_places(kept: torch.Tensor) -> set[tuple[int, int]]:
    return {tuple(place) for place in kept.nonzero().tolist()}


def rank(tokens: list[Token], score: Any, share: float) -> set[tuple[int, int]]:
    """The top share of tokens by a score without ties."""
    budget = math.ceil(len(tokens) * share - 1e-9)
    ranked = sorted(tokens, key=score, reverse=True)[:budget]
    return {(token.row, token.position) for token in ranked}
