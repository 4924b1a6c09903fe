"""A small collection of answers of the tiny model."""

from helpers.tiny import build_model, build_tokenizer
from trl_forking.analysis import collect


ROWS = [{"prompt": " ".join(f"w{3 + (i * j) % 29}" for j in range(1, 2 + i % 4)), "number": i} for i in range(7)]
SETTINGS = {"num_generations": 3, "max_completion_length": 12, "batch_size": 2, "seed": 5, "disable_tqdm": True}


def count_words(row, completion):
    return None if row["number"] == 3 else float(len(completion.split()) % 2)


def run(folder, model=None, prompts=ROWS, **settings):
    model = build_model() if model is None else model
    settings = SETTINGS | {"tokenizer": build_tokenizer(), "verifier": count_words} | settings
    return collect(model, prompts, folder, **settings)
