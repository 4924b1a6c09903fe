# /// script
# requires-python = ">=3.11"
# dependencies = ["reasoning-gym"]
# ///
"""
Write grade-school problems made by reasoning-gym (`gsm_symbolic`) to a JSON-lines file.

    python examples/make_gsm_data.py gsm.jsonl --size 1000 --seed 0
"""

import argparse
import json
from pathlib import Path

import reasoning_gym


def main() -> None:
    parser = argparse.ArgumentParser(description="Write problems of reasoning-gym's gsm_symbolic as JSON lines.")
    parser.add_argument("file", type=Path, help="where to write the rows, each with `question` and `answer`")
    parser.add_argument("--size", type=int, default=1000, help="number of problems")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other problems")
    args = parser.parse_args()
    problems = reasoning_gym.create_dataset("gsm_symbolic", size=args.size, seed=args.seed)
    with args.file.open("w", encoding="utf-8") as file:
        for problem in problems:
            file.write(json.dumps({"question": problem["question"], "answer": problem["answer"]}) + "\n")
    print(f"Wrote {args.size} problems to {args.file}")


if __name__ == "__main__":
    main()
