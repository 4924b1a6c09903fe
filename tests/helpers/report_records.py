"""Invented answers for the tests of the report. Their text looks like a model's, and their entropies are random."""

import re

import numpy as np

from trl_forking.analysis import ScoredAnswer


FORKS = (
    "So",
    "Wait",
    "However",
    "Since",
    "Let",
    "But",
    "Then",
    "First",
    "Next",
    "Thus",
    "Therefore",
    "Suppose",
    "Now",
)
SENTENCES = (
    "First, let us write down what is known: the baker has {a} trays with {b} rolls each.",
    "So the total is {a} × {b} = {c} rolls.",
    "Wait, the problem says that {a} of them were sold before noon, so we subtract them.",
    "However, since each tray also holds one loaf, we have to add {a} more.",
    "Let x be the number of rolls left; then x + {a} = {c}.",
    "Suppose instead that every customer buys {b}. Then {c} rolls serve {a} customers.",
    "Thus the answer is {c}.\n\n",
    "But that cannot be right, because {c} is larger than the {b} we started with.\n",
    "Therefore x = {c} - {a}.\n",
)
QUESTION = "Mira bakes {a} trays of {b} rolls each and sells {a} rolls before noon. How many rolls are left?"


def make_record(tokens: list[str], entropies, prompt_index: int = 0, answer_index: int = 0, **fields) -> ScoredAnswer:
    """One answer with three alternatives at every token, the drawn one first."""
    entropies = np.asarray(entropies, dtype=np.float32)
    logprobs = -entropies / 2
    rest = -np.expm1(logprobs) + 1e-9
    top_logprobs = np.stack([logprobs, np.log(0.6 * rest), np.log(0.3 * rest)], axis=1).astype(np.float32)
    fields = {"prompt": QUESTION.format(a=prompt_index + 2, b=6), "reward": None} | fields
    return ScoredAnswer(
        prompt_index=prompt_index,
        answer_index=answer_index,
        token_ids=np.arange(len(tokens), dtype=np.int32),
        tokens=tokens,
        entropies=entropies,
        logprobs=logprobs,
        top_tokens=[[token, " so", " wait"] for token in tokens],
        top_logprobs=top_logprobs.reshape(len(tokens), 3),
        **fields,
    )


def make_records(num_answers: int, num_tokens: int = 96, seed: int = 0, **fields) -> list[ScoredAnswer]:
    """Answers to one prompt in four, with rewards 1, 0, 0, None and so on."""
    generator = np.random.default_rng(seed)
    records = []
    for answer in range(num_answers):
        tokens = _write_tokens(generator, num_tokens)
        entropies = generator.exponential(0.08, len(tokens))
        is_fork = np.array([token.strip(" ,") in FORKS for token in tokens])
        entropies[is_fork] += generator.gamma(4.0, 0.45, int(is_fork.sum()))
        entropies[generator.random(len(tokens)) < 0.45] *= 0.02
        is_other = generator.random(len(tokens)) < 0.06
        entropies[is_other] += generator.gamma(3.0, 0.4, int(is_other.sum()))
        reward = (1.0, 0.0, 0.0, None)[answer % 4]
        records.append(make_record(tokens, entropies, answer // 4, answer % 4, **({"reward": reward} | fields)))
    return records


def _write_tokens(generator: np.random.Generator, num_tokens: int) -> list[str]:
    tokens: list[str] = []
    while len(tokens) < num_tokens:
        a, b = (int(number) for number in generator.integers(2, 40, 2))
        sentence = SENTENCES[generator.integers(len(SENTENCES))].format(a=a, b=b, c=a * b)
        tokens += re.findall(r"\n+| ?[^\W\d]+| ?\d| ?[^\w\s]|\s", ("" if not tokens else " ") + sentence)
    return tokens[:num_tokens]
