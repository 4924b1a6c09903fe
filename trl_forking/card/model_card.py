"""The card of a run: a function of the recorded facts, of the evaluation files beside them and of the user's own text."""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..run.trainer_protocol import ForkingTrainer
from . import sections
from .evaluation_results import find_evaluation_files, read_evaluation_results
from .run_files import CONFIG_FILE, RECORD_FILE, read_config, read_record, write_record, write_whole
from .run_record import collect_run
from .run_summary import summarize_run
from .training_plot import draw_training


logger = logging.getLogger(__name__)


PLOT_FILE = "training.png"
_BEGIN = (
    "<!-- trl-forking: from here to the end mark the card is made anew; your own text before and after is kept -->"
)
_END = "<!-- trl-forking: end mark -->"
_HEADINGS = ("Quick start", "Results", "Training procedure", "Limits", "Citations")
_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"


def create_card(trainer: ForkingTrainer, **names: Any) -> None:
    """
    Record the facts of a run in its folder and make its card; for the main process.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer at any time.
        **names:
            `model_name`, `dataset_name` and `tags` as in [`~trl.GRPOTrainer.create_model_card`], and `example_prompt`
            for the quick start: by default it is no prompt of the data, which may be private. What is given is
            remembered in the folder.
    """
    record_run(trainer, **names)
    rebuild_card(trainer.args.output_dir)


@contextmanager
def warning_of_failure() -> Iterator[None]:
    """
    Let no fault of a card, such as a broken evaluation file in the folder, cost the run: warn, and go on.

    Example:
    ```python
    >>> with warning_of_failure():
    ...     raise ValueError("eval_results.json is cut off.")
    ```
    """
    try:
        yield
    except Exception as error:
        logger.warning(f"The model card was not made: {error} Training goes on; trl-forking card makes it later.")


def record_run(trainer: ForkingTrainer, **names: Any) -> None:
    """
    Record the facts of a run in its folder; for the main process.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer at any time.
        **names:
            As in [`create_card`].
    """
    folder = Path(trainer.args.output_dir)
    if not trainer.resumed_at and not trainer.is_recorded:
        set_aside_other_run(folder)
    try:
        earlier = read_record(folder)
    except ValueError:  # none yet, or one that this replaces
        earlier = None
    write_record(folder, collect_run(trainer, earlier, **names))
    trainer.is_recorded = True


def set_aside_other_run(folder: str | Path) -> Path | None:
    """
    Move what the card of an earlier run was made from out of the way of a new one; for the main process.

    Of the card itself the user's own text stays, and a copy of the whole is made.

    Args:
        folder (`str` or `Path`):
            Folder of both runs. That of a run without a record is left alone: what is in it may be the new run's.

    Returns:
        `Path` or `None`: where the files are now, a folder that is never pushed.

    Example:
    ```python
    >>> set_aside_other_run("no-such-run") is None
    True
    ```
    """
    folder = Path(folder)
    if not (folder / RECORD_FILE).is_file():
        return None
    aside = _create_folder(folder / "_earlier_run")
    if (folder / "README.md").is_file():
        shutil.copy2(folder / "README.md", aside)
    _forget_run(folder)
    names = [*sorted(path.name for path in folder.glob("eval_results*.json")), CONFIG_FILE, PLOT_FILE, RECORD_FILE]
    for name in names:  # the record last: until it is gone, a move that was cut short is taken up again
        if (folder / name).is_file():
            os.replace(folder / name, aside / name)
    logger.warning(
        f"{folder} has the card of an earlier run: what that was made from is now in {aside}; move it back before you go "
        "on with that run."
    )
    return aside


def _create_folder(path: Path) -> Path:
    """Create a folder of that name or, where there is one, with a number behind it."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}_{number}")
    free.mkdir()
    return free


def _forget_run(folder: Path) -> None:
    """Take out of the metadata of a card what is of the recorded run and not of its user."""
    card = _read_card(folder / "README.md")
    if card is None:
        return
    try:
        run = read_record(folder)
    except ValueError:
        run = {"names": {}, "tags": [], "model": {"adapter": None}}
    kept = card.data.to_dict()
    given = _list(run["names"].get("tags"))
    of_peft = [run["model"]["adapter"]["type"].lower(), "transformers"] if run["model"]["adapter"] else []
    tags = [tag for tag in _list(kept.pop("tags", None)) if tag not in [*run["tags"], *given, *of_peft]]
    for name in ("base_model", "datasets", "library_name", "model_name", "pipeline_tag", "model-index"):
        kept.pop(name, None)
    card.data = ModelCardData(**kept, tags=tags or None)
    write_whole(folder / "README.md", str(card))


def rebuild_card(folder: str | Path, evaluation_files: Iterable[str | Path] = ()) -> Path:
    """
    Make the card of a run from the files in its folder; the model is not loaded.

    Args:
        folder (`str` or `Path`):
            Folder of the run, with the record that [`record_run`] wrote.
        evaluation_files (`Iterable[str | Path]`, *optional*, defaults to `()`):
            Evaluation files, which are copied into the folder; those that are there already count in any case.

    Returns:
        `Path`: the card. What the user wrote into it before or after its marks, sections added in between, and
        metadata that are not of the run are kept.

    Raises:
        `ValueError`: if the folder has no record of a run, or one of its files is broken.

    Example:
    ```python
    >>> rebuild_card("no-such-run")
    Traceback (most recent call last):
        ...
    ValueError: no-such-run: there is no such folder.
    ```
    """
    folder = Path(folder)
    run = read_record(folder)
    _adopt_evaluation_files(folder, evaluation_files)
    results = read_evaluation_results(find_evaluation_files(folder))
    config = read_config(folder)
    picture = draw_training(run["history"], run["progress"]["resumed_at"])
    if picture is not None:
        write_whole(folder / PLOT_FILE, picture)
    plot = PLOT_FILE if (folder / PLOT_FILE).is_file() else None
    card = build_model_card(run, folder, results, config, plot, _read_card(folder / "README.md"))
    write_whole(folder / "README.md", str(card))
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
            Folder of the run: what the model is loaded from where it is not on the Hub.
        results (`list[EvalResult]`, *optional*):
            Results of evaluations.
        config (`str`, *optional*):
            YAML that repeats the run.
        plot (`str`, *optional*):
            Picture of the training, relative to the folder.
        existing (`ModelCard`, *optional*):
            Card whose own text and metadata are kept.

    Returns:
        [`~huggingface_hub.ModelCard`]: the card.
    """
    results = results or []
    names = run["names"]
    name = str(names.get("model_name") or names.get("hub_model_id", "").split("/")[-1] or Path(folder).absolute().name)
    block = _render(run, name, Path(folder), results, config, plot)
    before, previous, after = _split(existing)
    after = "\n\n".join(filter(None, [after, *_find_own_sections(previous)]))
    text = "\n\n".join(filter(None, [before, _BEGIN, block, _END, after]))
    data = _build_metadata(run, name, results, config, existing, had_results="## Results" in previous)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")


# Text ------------------------------------------------------------------------------------------------------------------


def _render(
    run: dict[str, Any], name: str, folder: Path, results: list[EvalResult], config: str | None, plot: str | None
) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    place = run["names"].get("hub_model_id") or _name_folder(folder, _find_weights(folder))
    facts = sections.describe_run(run, name, place, results, config)
    rendered = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        **facts, plot=plot, summary=summarize_run(run)
    )
    # A value must not end the part that is made anew.
    return re.sub(r"\n{3,}", "\n\n", rendered).replace(_END, "").strip()


def _find_weights(folder: Path) -> Path:
    """Find where the weights of a run are: in its folder, or else in the newest folder inside of it."""
    names = ("adapter_config.json", "config.json")
    inside = [path.parent for name in names for path in folder.glob(f"*/{name}")]
    if any((folder / name).is_file() for name in names) or not inside:
        return folder
    return max(inside, key=lambda path: path.stat().st_mtime)


def _name_folder(folder: Path, weights: Path) -> str:
    """Name the weights of a run as they are loaded where it was trained, and without a folder of the machine."""
    inside = weights.relative_to(folder)
    if folder.is_absolute():
        folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else Path(folder.name)
    return (folder / inside).as_posix()


def _read_card(path: Path) -> ModelCard | None:
    """Read the card that is there; one that a library made, or that can't be read, is moved out of the way."""
    if not path.is_file():
        return None
    try:
        card = ModelCard.load(path, ignore_metadata_errors=True)
    except (ValueError, yaml.YAMLError):
        os.replace(path, path.with_name("_README.broken.md"))  # what begins with _ is never pushed
        return None
    if _BEGIN in card.text:
        return card
    if card.text.strip().startswith(ModelCard.from_template(ModelCardData()).text.strip()):
        return None  # the empty form that PEFT puts beside an adapter
    if "generated_from_trainer" in (card.data.tags or []):
        os.replace(path, path.with_name("_README.previous.md"))
        return None
    return card


def _split(card: ModelCard | None) -> tuple[str, str, str]:
    """Split a card into what stands before, between and after the marks."""
    if card is None:
        return "", "", ""
    text = card.text.replace("\r\n", "\n")
    if _BEGIN not in text:
        return "", "", text.strip()
    before, _, rest = text.partition(_BEGIN)
    block, mark, after = rest.rpartition(_END)
    return before.strip(), block if mark else rest, after.strip() if mark else ""


def _find_own_sections(block: str) -> list[str]:
    """Find the sections that a user added between the marks."""
    own: list[list[str]] = []
    is_own, fence = False, ""
    for line in block.splitlines():
        if match := re.match(r"(`{3,})", line):
            fence = "" if fence and line.startswith(fence) else fence or match[1]
        elif not fence and line.startswith(("# ", "## ")):
            is_own = line.startswith("## ") and line[3:].strip() not in _HEADINGS
            own += [[]] if is_own else []
        if is_own:
            own[-1].append(line)
    return ["\n".join(lines).strip() for lines in own]


# Metadata --------------------------------------------------------------------------------------------------------------


def _build_metadata(
    run: dict[str, Any],
    name: str,
    results: list[EvalResult],
    config: str | None,
    existing: ModelCard | None,
    had_results: bool,
) -> ModelCardData:
    model, names = run["model"], run["names"]
    kept = existing.data.to_dict() if existing is not None else {}
    if results or had_results:
        kept.pop("model-index", None)
    kept.pop("licence", None)  # TRL's cards have this misspelt key with no licence
    if os.path.isabs(str(kept.get("base_model", ""))) or (
        model["is_local"] and kept.get("base_model") == model["base_model"]
    ):
        kept.pop("base_model")  # PEFT writes the folder of the base model here, which the Hub refuses
    given = names.get("tags") or []
    # Those with a colon are made from base_model by PEFT and by the Hub.
    other = [tag for tag in _list(kept.pop("tags", None)) if not tag.startswith("base_model:")]
    own = {
        "base_model": None if model["is_local"] else model["base_model"],
        "datasets": sections.find_dataset_ids(run, yaml.safe_load(config) if config else {}),
        "library_name": "peft" if model["adapter"] else "transformers",
        "model_name": name,
        "pipeline_tag": "image-text-to-text" if model["takes_images"] else "text-generation",
    }
    kept |= {key: value for key, value in own.items() if value}
    return ModelCardData(**kept, tags=[*run["tags"], *_list(given), *other], eval_results=results or None)


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or []]


# Evaluations -----------------------------------------------------------------------------------------------------------


def _adopt_evaluation_files(folder: Path, files: Iterable[str | Path]) -> None:
    """Copy evaluation files into the folder, so that they arrive with a push and the next card has them too."""
    for path in map(Path, files):
        read_evaluation_results([path])  # a broken one must not get there
        name = path.name if path.name.startswith("eval_results") else f"eval_results_{path.stem}.json"
        if path.resolve() == (folder / name).resolve():
            continue
        if (folder / name).exists() and json.loads((folder / name).read_text()) != json.loads(path.read_text()):
            raise ValueError(
                f"{folder / name} is there already with other results: rename {path} or move that file away."
            )
        shutil.copyfile(path, folder / name)
