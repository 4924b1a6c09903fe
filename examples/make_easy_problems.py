# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""
Write easy sums, differences, products and word problems to a JSON-lines file, for `trl-forking evaluate`.

    python examples/make_easy_problems.py easy.jsonl --size 64 --seed 0

Each prompt is a chat that begins with two solved examples. A small model learns from them to put its answer in a box.
"""

import argparse
import json
import random
from pathlib import Path


NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix")
THINGS = ("apples", "books", "coins", "eggs", "pencils", "stamps")
EXAMPLES = (
    ("What is 6 + 8?", r"6 + 8 = 14. The answer is \boxed{14}."),
    ("Paul has 9 cups and buys 3 more. How many cups does Paul have now?", r"9 + 3 = 12. The answer is \boxed{12}."),
)


def make_problem(source: random.Random, kind: int) -> tuple[str, int]:
    small, large = sorted(source.sample(range(2, 21), 2))
    name, thing = source.choice(NAMES), source.choice(THINGS)
    return (
        (f"What is {large} + {small}?", large + small),
        (f"What is {large} - {small}?", large - small),
        (f"What is {small} * {large}?", small * large),
        (f"{name} has {large} {thing} and gets {small} more. How many {thing} does {name} have now?", large + small),
        (f"{name} has {large} {thing} and gives {small} away. How many {thing} are left?", large - small),
        (f"{name} has {small} boxes with {large} {thing} each. How many {thing} are that in all?", small * large),
        (f"{name} has {2 * small} {thing} and loses half of them. How many {thing} are left?", small),
        (f"Which number comes after {small * large}?", small * large + 1),
    )[kind]


def build_chat(question: str) -> list[dict[str, str]]:
    turns = [("user", "assistant")[number % 2] for number in range(5)]
    texts = [text for example in EXAMPLES for text in example]
    return [{"role": role, "content": text} for role, text in zip(turns, [*texts, question], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write easy problems as JSON lines.")
    parser.add_argument("file", type=Path, help="where to write the rows, each with `prompt` and `answer`")
    parser.add_argument("--size", type=int, default=64, help="number of problems")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other problems")
    args = parser.parse_args()
    source = random.Random(args.seed)
    problems: dict[str, int] = {}
    while len(problems) < args.size:  # each question once
        question, answer = make_problem(source, len(problems) % 8)
        problems[question] = answer
    rows = [{"prompt": build_chat(question), "answer": str(answer)} for question, answer in problems.items()]
    args.file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"Wrote {len(problems)} problems to {args.file}")


if __name__ == "__main__":
    main()
