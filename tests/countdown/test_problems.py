"""The problems of the built-in task: its two splits, and what can be asked for."""

import ast
import subprocess
import sys
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from trl_forking.countdown import (
    NUM_PROBLEMS,
    format_prompt,
    is_held_out,
    list_attempts,
    make_countdown_dataset,
    verify_countdown,
)
from trl_forking.countdown import problems as countdown


def test_splits_share_no_triple():
    triples = list(combinations_with_replacement(range(1, 10), 3))
    assert (len(triples), sum(map(is_held_out, triples))) == (165, 34)
    drawn = {
        split: {tuple(sorted(nums)) for nums in make_countdown_dataset(split, size, seed=0)["nums"]}
        for split, size in NUM_PROBLEMS.items()
    }
    assert not drawn["train"] & drawn["eval"]
    assert drawn["train"] | drawn["eval"] == set(triples)
    for split, size in NUM_PROBLEMS.items():
        assert size == len(countdown._list_problems(split))
        with pytest.raises(ValueError, match=str(size)):
            make_countdown_dataset(split, size + 1, seed=0)


def test_problems_are_solvable_distinct_and_reproducible():
    problems = make_countdown_dataset("eval", num_problems=400, seed=5)
    assert len(set(problems["prompt"])) == 400
    for problem in problems:
        nums, goal = problem["nums"], problem["goal"]
        assert all(1 <= number <= 9 for number in nums) and 0 <= goal <= 50
        assert problem["prompt"] == format_prompt(nums, goal)
        solutions = [attempt for attempt in list_attempts(nums, goal) if attempt.endswith("yes")]
        assert solutions and all(verify_countdown(solution, nums, goal) for solution in solutions)
    assert problems["prompt"] == make_countdown_dataset("eval", num_problems=400, seed=5)["prompt"]
    assert problems["prompt"] != make_countdown_dataset("eval", num_problems=400, seed=6)["prompt"]


@pytest.mark.parametrize(("split", "num_problems"), [("test", 4), ("train", 0), ("eval", -1)])
def test_wrong_requests_are_refused_in_a_sentence(split, num_problems):
    with pytest.raises(ValueError, match=r"^(split|num_problems) must be .*\.$"):
        make_countdown_dataset(split, num_problems, seed=0)


def test_importing_the_problems_is_cheap():
    code = (
        f"import runpy, sys; runpy.run_path({countdown.__file__!r}); "
        "print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_the_task_imports_torch_where_it_is_needed_only():
    """At the top of the other modules, except for that which trains the model, nothing but each other is imported."""
    folder = Path(countdown.__file__).parent
    for name in ("verifier", "model", "evaluation"):
        for node in ast.parse((folder / f"{name}.py").read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert all(part.split(".")[0] in sys.stdlib_module_names for part in names), (name, names)
            elif isinstance(node, ast.ImportFrom):
                assert node.module in ("problems", "verifier", "evaluation.intervals"), (name, node.module)
