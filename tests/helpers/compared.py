"""Folders of evaluated runs for comparisons, written by hand."""

import json


def write_run(
    folder, values, seed=42, settings=None, record=True, name="easy", history=None, evaluations=None, **changes
):
    """Write a run whose evaluation has one value for each problem; `values` is a list or a mapping by key."""
    values = values if isinstance(values, dict) else {f"p{i}": value for i, value in enumerate(values)}
    folder.mkdir(parents=True, exist_ok=True)
    described = {"num_problems": len(values), "prompts": "hash", "temperature": 1.0, "num_generations": 4, "seed": 0}
    figures = {"avg@4": values, "pass@4": values, "length": dict.fromkeys(values, 9.0)}
    one = {"name": name, "title": name.capitalize(), "problems": figures, "settings": described | changes}
    (folder / "evaluation.json").write_text(json.dumps({"model": str(folder), "sets": [one]}))
    if record:
        tokens = {"num_tokens": [90.0, 180.0, 270.0], "forking/generated_tokens": [50.0, 100.0, 150.0]}
        history = history or {"step": [1, 2, 3], "reward": [0.1, 0.2, 0.4]} | tokens
        content = {"format": 1, "settings": {"seed": seed} | (settings or {}), "history": history}
        content |= {"evaluations": evaluations} if evaluations is not None else {}
        (folder / "forking_run.json").write_text(json.dumps(content))
    return str(folder)
