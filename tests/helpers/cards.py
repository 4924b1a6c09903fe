"""Reading and changing the card of a run, for the tests of cards."""

import re

from markdown_it import MarkdownIt

from trl_forking.card.model_card import rebuild_card
from trl_forking.card.run_files import read_record, write_record


CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
SAMPLED = {"rollout_func": None, "max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 0.1}


def read_text(folder) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def change_record(folder, **parts) -> dict:
    """Change parts of the record, and make the card again."""
    run = read_record(folder)
    for name, value in parts.items():
        run[name] = run[name] | value if isinstance(value, dict) else value
    write_record(folder, run)
    rebuild_card(folder)
    return run


def render(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def find_code(text: str, heading: str) -> str:
    return re.search(rf"{heading}.*?\n```python\n(.*?)\n```", text, flags=re.DOTALL)[1]
