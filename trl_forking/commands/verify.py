"""`trl-forking verify`: whether the reward takes an answer for right, and why."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.rows import Row, read_rows
from ..rewards.extract import extract_boxed
from ..rewards.math_reward import explain_verdict
from ..run.user_errors import UserError, exit_on_user_error


_USAGE = "trl-forking verify GOLD ANSWER | --file PAIRS.jsonl [--json]"
_GOLD_KEYS = ("gold", "solution", "answer_key", "ground_truth")
_ANSWER_KEYS = ("answer", "completion", "response")


@dataclass
class VerifyArguments:
    """
    What `trl-forking verify` compares.

    Parameters:
        gold (`str`, *optional*):
            Gold answer. It may stand alone, without the flag, as the first argument.
        answer (`str`, *optional*):
            Answer: a whole completion with its box, or the content of a box. It may stand alone as the second argument.
        file (`str`, *optional*):
            File of pairs, in place of the two: JSON lines with `gold` and `answer`, or another form that
            [`~trl_forking.data.rows.read_rows`] reads.
        json (`bool`, *optional*, defaults to `False`):
            Whether to print JSON.

    Example:
    ```python
    >>> from trl_forking.commands.verify import VerifyArguments
    >>> VerifyArguments(gold="42", answer="42.0").file is None
    True
    ```
    """

    gold: str | None = field(default=None, metadata={"help": "Gold answer, as in a data set."})
    answer: str | None = field(
        default=None, metadata={"help": "Answer: a whole completion with its box, or the content of a box."}
    )
    file: str | None = field(
        default=None, metadata={"help": "JSON lines with `gold` and `answer` (and `right`, the verdict you expect)."}
    )
    json: bool = field(default=False, metadata={"help": "Print JSON, one line per pair."})


def run_verify(flags: list[str]) -> None:
    r"""
    Run `trl-forking verify GOLD ANSWER`: print the verdict, what was read on each side, and the rule that decided.

    Args:
        flags (`list[str]`):
            Gold answer, answer, and flags.

    Raises:
        `SystemExit`: with code 0 if every answer is right (or, where the file says what is right, every verdict is as
            expected), 1 if not, and 2 after one sentence about a mistake of the user, such as a gold answer that cannot be
            read.

    Example:
    ```python
    >>> from trl_forking.commands.verify import run_verify
    >>> run_verify(["12 000", r"It is \boxed{12000}."])
    Traceback (most recent call last):
        ...
    SystemExit: 0
    ```
    """
    arguments, debug = _parse(flags)
    with exit_on_user_error(debug):
        pairs = _read_pairs(arguments)
        results = [_verify(place, *pair) for place, *pair in pairs]
        for result in results:
            print(json.dumps(result, ensure_ascii=False) if arguments.json else _format(result))
        if arguments.file is not None and not arguments.json:
            print(_summarize(results))
        unreadable = [result["place"] for result in results if result["reward"] is None]
        if unreadable:
            raise UserError(f"{unreadable[0]}: the gold answer cannot be read: give a number, LaTeX or a few words.")
    sys.exit(0 if all(_is_as_expected(result) for result in results) else 1)


def _parse(flags: list[str]) -> tuple[VerifyArguments, bool]:
    with exit_on_user_error("--debug" in flags):
        flags = _name_texts(flags)
    values = dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)
    switches = {flag.removeprefix("--") for flag in flags if "=" not in flag}
    if switches <= {"json", "debug"} and values.keys() <= {"gold", "answer", "file"}:
        return VerifyArguments(**values, json="json" in switches), "debug" in switches
    # Importing TRL's parser takes seconds, which only the help and a mistake are worth.
    from .arguments import ForkingParser

    parser = ForkingParser(
        VerifyArguments,
        prog="trl-forking verify",
        usage=_USAGE,
        description="Say whether the reward takes an answer for right, what was read on each side, and which rule decided.",
        groups={"Flags": VerifyArguments.__annotations__},
    )
    (arguments,) = parser.parse_args_and_config(flags)
    return arguments, parser.debug


def _name_texts(flags: list[str]) -> list[str]:
    """Write the two texts as flags, because an answer such as `-x` would be taken for one."""
    named: list[str] = []
    names = ["--gold", "--answer"]
    for flag in flags:
        if named and named[-1] in ("--gold", "--answer", "--file", "--config"):
            named[-1] += f"={flag}"
        elif flag.startswith("--") or flag == "-h":
            named.append(flag)
        elif names:
            named.append(f"{names.pop(0)}={flag}")
        else:
            raise UserError(f"there are more than two texts: put each into quotes: {_USAGE}")
    return named


def _read_pairs(arguments: VerifyArguments) -> list[tuple[str, Any, Any, Any]]:
    if arguments.file is None:
        if arguments.gold is None or arguments.answer is None:
            raise UserError(f"the gold answer or the answer is missing: {_USAGE}")
        return [("command line", arguments.gold, arguments.answer, None)]
    if arguments.gold is not None:
        raise UserError(f"--file stands in place of GOLD and ANSWER: {_USAGE}")
    path = Path(arguments.file)
    if not path.is_file():
        raise UserError(f"{path} does not exist: give a file of JSON lines with `gold` and `answer`.")
    pairs = [_read_pair(row) for row in read_rows(str(path))]
    if not pairs:
        raise UserError(f"{path} is empty: write one pair on each line, with `gold` and `answer`.")
    return pairs


def _read_pair(row: Row) -> tuple[str, Any, Any, Any]:
    values = row.values
    gold, answer = (
        next((values[key] for key in names if values.get(key) is not None), None)
        for names in (_GOLD_KEYS, _ANSWER_KEYS)
    )
    if gold is None or answer is None:
        raise UserError(f'{row.place} has no pair: write {{"gold": "42", "answer": "42.0"}}.')
    return row.place, gold, answer, values.get("right")


def _verify(place: str, gold: Any, answer: Any, expected: Any) -> dict[str, Any]:
    text = str(answer)
    is_bare = extract_boxed(text) is None and "<think>" not in text and r"\boxed" not in text
    verdict = explain_verdict(text, gold, is_bare)
    result = {"place": place, **verdict._asdict(), "read": "the whole text" if is_bare else "the last box"}
    return result if expected is None else result | {"expected": float(expected)}


def _is_as_expected(result: dict[str, Any]) -> bool:
    return result["reward"] == result.get("expected", 1.0)


def _format(result: dict[str, Any]) -> str:
    verdict = {None: "no verdict", 1.0: "right", 0.0: "wrong"}[result["reward"]]
    note = "" if _is_as_expected(result) or "expected" not in result else " (you expect the opposite)"
    return (
        f"{verdict}{note}: {result['place']}\n  rule:   {result['rule']}\n  gold:   {result['gold']}\n"
        f"  answer: {result['answer']}, read from {result['read']}"
    ).replace(": command line\n", "\n")


def _summarize(results: list[dict[str, Any]]) -> str:
    num_right = sum(result["reward"] == 1.0 for result in results)
    summary = f"{num_right} of {len(results)} answers are right"
    if any("expected" in result for result in results):
        summary += f"; {sum(map(_is_as_expected, results))} verdicts are as expected"
    return summary
