"""`trl-forking rules`: the rules that choose and weight tokens, with what each selects, its paper and its cost."""

import json
import sys

from ..run.user_errors import UserError, exit_on_user_error
from ..selection.rules import check_rule_name
from .help_text import find_width, wrap_lines


_HELP = """usage: trl-forking rules [NAME] [--json] [--help]

List the rules that choose and weight tokens, for --token_selection and the field token_selection: what each selects,
its paper, and what it computes that high_entropy does not. NAME shows one rule in full: equation, source and
deviations.

  --json    print JSON, one line for each rule

--help-all is the same. Your own rule: docs/rules.md."""


def run_rules(flags: list[str]) -> None:
    """
    Run `trl-forking rules [NAME]`.

    Args:
        flags (`list[str]`):
            Name of a rule, and flags.

    Raises:
        `SystemExit`: with code 2 and one sentence for a rule or a flag that does not exist.

    Example:
    ```python
    >>> run_rules(["gradient_norm", "--json"])
    {"name": "gradient_norm", "selects": "the top share by the gradient's norm at the logits", ...
    ```
    """
    if any(flag in ("-h", "--help", "--help-all", "--help_all") for flag in flags):
        print(wrap_lines(_HELP, find_width()))
        sys.exit(0)
    with exit_on_user_error("--debug" in flags):
        rest = [flag for flag in flags if flag not in ("--debug", "--json")]
        names = [flag for flag in rest if not flag.startswith("-")]
        if unknown := [flag for flag in rest if flag.startswith("-")] + names[1:]:
            raise UserError(f"unknown argument {unknown[0]!r}: trl-forking rules takes one NAME and --json.")
        for name in names:
            check_rule_name(name)
        from ..selection.rules import RULES, find_rule  # torch takes seconds to import

        rules = [find_rule(name) for name in names] or list(RULES.values())
        if "--json" in flags:
            print("\n".join(json.dumps(_list_facts(rule)) for rule in rules))
        elif names:
            print(_describe(rules[0]))
        else:
            print(_format_table([_list_facts(rule) for rule in rules]))


def _list_facts(rule) -> dict[str, str]:
    paper = rule.facts.paper.link if rule.facts.paper else ""
    return {
        "name": rule.name,
        "selects": rule.facts.selects,
        "paper": paper,
        "cost": rule.facts.cost,
        "equation": rule.facts.equation,
    }


def _format_table(rows: list[dict[str, str]]) -> str:
    columns = ("name", "selects", "paper", "cost")
    # Papers by their number: an address would make a line too long for a terminal.
    rows = [row | {"paper": row["paper"].rpartition("/")[2] or "-"} for row in rows]
    widths = [max(len(row[column]) for row in [*rows, {column: column}]) for column in columns[:-1]]
    lines = [dict(zip(columns, columns, strict=True)), *rows]
    return "\n".join(
        "  ".join([*(line[column].ljust(width) for column, width in zip(columns, widths, strict=False)), line["cost"]])
        for line in lines
    )


def _describe(rule) -> str:
    import inspect

    facts = _list_facts(rule)
    lines = [f"{name:9s} {value}" for name, value in facts.items() if value]
    return "\n".join([*lines, "", inspect.getdoc(rule.function) or "The function has no docstring."])
