"""The card of a run, made from its recorded facts, the evaluation files beside them and the text of its user."""

import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard

from ..run.trainer_protocol import ForkingTrainer
from ..settings.secrets import remove_secrets, remove_secrets_from_text
from ..writing.files import write_atomically
from .earlier_run import set_aside_other_run
from .evaluation_results import find_evaluation_files, read_evaluation_results
from .existing_card import BEGIN, END, find_own_sections, read_card, split_card
from .logged_evaluations import build_logged_results
from .metadata import build_metadata
from .run_files import PLOT_FILE, read_config, read_record, write_record
from .run_record import collect_run
from .sections import describe_run
from .training_plot import draw_training


logger = logging.getLogger(__name__)

_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"


def create_card(trainer: ForkingTrainer, **names: Any) -> None:
    """
    Record the facts of a run in its folder and make its card, in the main process.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer, before, during or after training.
        **names:
            `model_name`, `dataset_name` and `tags` as in [`~trl.GRPOTrainer.create_model_card`], and `example_prompt`,
            the prompt of the quick start. The default prompt is not from the data, which may be private. The names are
            saved in the folder, and later cards have them too.
    """
    record_run(trainer, **names)
    rebuild_card(trainer.args.output_dir)


def record_run(trainer: ForkingTrainer, **names: Any) -> None:
    """
    Record the facts of a run in its folder, in the main process.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer, before, during or after training.
        **names:
            The same as in [`create_card`].
    """
    folder = Path(trainer.args.output_dir)
    if not trainer.resumed_at and not trainer.is_recorded:
        set_aside_other_run(folder)
    try:
        earlier = read_record(folder)
    except ValueError:  # there is none, or a broken one, which is replaced
        earlier = None
    write_record(folder, collect_run(trainer, earlier, **names))
    trainer.is_recorded = True


def rebuild_card(folder: str | Path, evaluation_files: Iterable[str | Path] = ()) -> Path:
    """
    Make the card of a run from the files in its folder, without loading the model.

    Args:
        folder (`str` or `Path`):
            Folder of the run, with the record that [`record_run`] wrote.
        evaluation_files (`Iterable[str | Path]`, *optional*, defaults to `()`):
            Evaluation files to copy into the folder. The card also shows those that are already there.

    Returns:
        `Path`: the card. It keeps what the user wrote: text before and after the marks, sections between them, and
        metadata that do not come from the run.

    Raises:
        `ValueError`: if the folder has no record of a run, or if one of its files is broken.

    Example:
    ```python
    >>> rebuild_card("no-such-run")
    Traceback (most recent call last):
        ...
    ValueError: no-such-run: there is no such folder.
    ```
    """
    folder = Path(folder)
    run = read_record(folder, is_whole=True)
    _adopt_evaluation_files(folder, evaluation_files)
    results = [*read_evaluation_results(find_evaluation_files(folder)), *build_logged_results(run)]
    config = read_config(folder)
    picture = draw_training(run["history"], run["progress"]["resumed_at"])
    if picture is not None:
        write_atomically(folder / PLOT_FILE, picture)
    plot = PLOT_FILE if (folder / PLOT_FILE).is_file() else None
    card = build_model_card(run, folder, results, config, plot, read_card(folder / "README.md"))
    write_atomically(folder / "README.md", remove_secrets_from_text(str(card)))
    return folder / "README.md"


def build_model_card(
    run: dict[str, Any],
    folder: str | Path,
    results: list[EvalResult] | None = None,
    config: str | None = None,
    plot: str | None = None,
    existing: ModelCard | None = None,
) -> ModelCard:
    """
    Build the card of a run.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.
        folder (`str` or `Path`):
            Folder of the run. The quick start loads the model from it if the model is not on the Hub.
        results (`list[EvalResult]`, *optional*):
            Results of evaluations.
        config (`str`, *optional*):
            YAML that repeats the run.
        plot (`str`, *optional*):
            Path of the plot of the training, relative to the folder.
        existing (`ModelCard`, *optional*):
            Card whose text and metadata by its user are kept.

    Returns:
        [`~huggingface_hub.ModelCard`]: the card.
    """
    results = results or []
    names = run["names"]
    name = str(names.get("model_name") or names.get("hub_model_id", "").split("/")[-1] or Path(folder).absolute().name)
    block = _render(run, name, Path(folder), results, config, plot)
    before, previous, after = split_card(existing)
    after = "\n\n".join(filter(None, [after, *find_own_sections(previous)]))
    text = "\n\n".join(filter(None, [before, BEGIN, block, END, after]))
    data = build_metadata(run, name, results, config, existing, had_results="## Results" in previous)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")


def _render(
    run: dict[str, Any], name: str, folder: Path, results: list[EvalResult], config: str | None, plot: str | None
) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    place = run["names"].get("hub_model_id") or _name_folder(folder, _find_weights(folder))
    values = describe_run(run, name, place, results, config)
    rendered = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(**values, plot=plot)
    # No value may end the part between the marks.
    return re.sub(r"\n{3,}", "\n\n", rendered).replace(END, "").strip()


def _find_weights(folder: Path) -> Path:
    """Find the weights of a run: they are in its folder, or else in the newest folder inside it."""
    names = ("adapter_config.json", "config.json")
    inside = [path.parent for name in names for path in folder.glob(f"*/{name}")]
    if any((folder / name).is_file() for name in names) or not inside:
        return folder
    return max(inside, key=lambda path: path.stat().st_mtime)


def _name_folder(folder: Path, weights: Path) -> str:
    """Name the folder of the weights by a relative path, which says nothing about the machine."""
    inside = weights.relative_to(folder)
    if folder.is_absolute():
        folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else Path(folder.name)
    return (folder / inside).as_posix()


def _adopt_evaluation_files(folder: Path, files: Iterable[str | Path]) -> None:
    """Copy evaluation files into the folder, so that they are pushed and the next card has them too."""
    for path in map(Path, files):
        read_evaluation_results([path])  # a broken file is not copied
        name = path.name if path.name.startswith("eval_results") else f"eval_results_{path.stem}.json"
        if path.resolve() == (folder / name).resolve():
            continue
        text = path.read_text(encoding="utf-8")
        results = json.loads(text)
        cleaned = remove_secrets(results)
        if (folder / name).exists() and json.loads((folder / name).read_text(encoding="utf-8")) != cleaned:
            raise ValueError(f"{folder / name} exists and has other results: rename {path}, or move that file away.")
        write_atomically(
            folder / name, text if cleaned is results else json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n"
        )
