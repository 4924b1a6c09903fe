# /// script
# requires-python = ">=3.11"
# dependencies = ["trl-forking"]
# ///
"""
Make a static Space of the Hub from a folder of `trl-forking analyze`: its page of forks, and a card with its figures.

    python examples/make_space.py docs/analysis/smollm2 examples/space
    hf upload YOUR_NAME/forks examples/space . --repo-type space
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any


# The Hub reads the part between the lines of dashes: https://huggingface.co/docs/hub/spaces-config-reference
CARD = """\
---
title: {quoted_title}
emoji: 🌿
colorFrom: red
colorTo: yellow
sdk: static
app_file: index.html
pinned: false
license: apache-2.0
short_description: Where a language model's reasoning can fork
tags:
- entropy
- grpo
- reasoning
- trl
---

# {title}

The page shades every token of a model's answers by its entropy, and lists the alternatives at each token. A slider sets the
share of tokens that [trl-forking](https://github.com/trl-forking/trl-forking) would train on. The method is that of
[Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

`{model}` wrote {num_generations} answers to each of {num_prompts} prompts, of up to {max_completion_length} tokens, at
temperature {temperature:g}.

{description}

The page needs no server and loads nothing from elsewhere. `trl-forking analyze` makes such a page for any model:

```bash
trl-forking analyze --model_name_or_path MODEL --prompts FILE --output_dir runs/analysis
python make_space.py runs/analysis space
hf upload YOUR_NAME/forks space . --repo-type space
```

`make_space.py` is in the [examples](https://github.com/trl-forking/trl-forking/blob/main/examples/make_space.py).
"""


def make_space(analysis: Path, space: Path) -> None:
    """Copy the page of an analysis, and write the card of the Space beside it."""
    space.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(analysis / "report.html", space / "index.html")
    settings, summary = (json.loads((analysis / name).read_text("utf-8")) for name in ("run.json", "summary.json"))
    (space / "README.md").write_text(write_card(settings, summary), "utf-8")


def write_card(settings: dict[str, Any], summary: dict[str, Any]) -> str:
    """Write the card from the settings and the summary of an analysis."""
    from trl_forking.analysis.summary import describe  # it takes seconds, which an answer to a mistake need not

    model = Path(settings["model"]).name
    title = f"Forks of {model}"
    return CARD.format(
        title=title,
        quoted_title=json.dumps(title, ensure_ascii=False),  # a name with a colon would be no YAML otherwise
        model=model,
        description=describe(summary),
        **{
            name: settings[name] for name in ("num_generations", "num_prompts", "max_completion_length", "temperature")
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a static Space from a folder of `trl-forking analyze`.")
    parser.add_argument("analysis", type=Path, help="folder with report.html, run.json and summary.json")
    parser.add_argument("space", type=Path, help="folder to write index.html and README.md into")
    args = parser.parse_args()
    missing = [name for name in ("report.html", "run.json", "summary.json") if not (args.analysis / name).is_file()]
    if missing:
        parser.error(
            f"{args.analysis} has no {' and no '.join(missing)}; name the --output_dir of a `trl-forking analyze` that finished."
        )
    make_space(args.analysis, args.space)
    print(f"{args.space} is ready: hf upload YOUR_NAME/forks {args.space} . --repo-type space")


if __name__ == "__main__":
    main()
