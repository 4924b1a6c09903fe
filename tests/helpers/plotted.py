"""Entropies and words that the tests of the plots draw."""

from xml.etree import ElementTree

import numpy as np

from trl_forking.analysis.comparison import build_comparison


GENERATOR = np.random.default_rng(0)
ENTROPIES = np.where(GENERATOR.random(2000) < 0.5, 0.0, GENERATOR.gamma(1.0, 0.8, 2000)).astype(np.float32)
WORDS = [" wait", "Wait", " however", " thus", " <b>bold</b>", " a&b", " $x$", " naïve", " 'q' \"r\"", "]]>"]
ROWS = [
    {"token": word, "token_id": index, "count": 100 + index, "mean_entropy": 2.0 - index / 10}
    for index, word in enumerate(WORDS)
]


def make_comparison(num_checkpoints: int = 3, noise: float = 0.2) -> dict:
    base = [ENTROPIES[:1500], ENTROPIES[1500:]]
    checkpoints = {
        f"runs/<b>$1$</b>/checkpoint-{step}": [np.abs(e + noise * GENERATOR.standard_normal(len(e))) for e in base]
        for step in range(num_checkpoints)
    }
    return build_comparison(base, checkpoints)


def find_text(svg: str) -> str:
    return " ".join(" ".join(ElementTree.fromstring(svg).itertext()).split())
