"""The metadata of a card: the part that comes from the run, and the part that its user added."""

import os
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .dataset_names import find_dataset_ids


_OF_THE_RUN = ("base_model", "datasets", "library_name", "model_name", "pipeline_tag", "model-index")


def build_metadata(
    run: dict[str, Any],
    name: str,
    results: list[EvalResult],
    config: str | None,
    existing: ModelCard | None,
    had_results: bool,
) -> ModelCardData:
    """
    Build the metadata of a card.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.
        name (`str`):
            Name of the model.
        results (`list[EvalResult]`):
            Results of evaluations.
        config (`str`, *optional*):
            YAML that repeats the run.
        existing ([`~huggingface_hub.ModelCard`], *optional*):
            Card whose other metadata are kept.
        had_results (`bool`):
            Whether the existing card shows results of the library, which are replaced.

    Returns:
        [`~huggingface_hub.ModelCardData`]: metadata that the Hub accepts.
    """
    model = run["model"]
    kept = existing.data.to_dict() if existing is not None else {}
    if results or had_results:
        kept.pop("model-index", None)
    kept.pop("licence", None)  # TRL's cards have this misspelt key, without a license
    if os.path.isabs(str(kept.get("base_model", ""))) or (
        model["is_local"] and kept.get("base_model") == model["base_model"]
    ):
        kept.pop("base_model")  # PEFT writes the folder of the base model here, which the Hub does not accept
    # PEFT and the Hub make the tags with a colon from base_model.
    other = [tag for tag in _list_names(kept.pop("tags", None)) if not tag.startswith("base_model:")]
    own = {
        "base_model": None if model["is_local"] else model["base_model"],
        "datasets": find_dataset_ids(run, yaml.safe_load(config) if config else {}),
        "library_name": "peft" if model["adapter"] else "transformers",
        "model_name": name,
        "pipeline_tag": "image-text-to-text" if model["takes_images"] else "text-generation",
    }
    kept |= {key: value for key, value in own.items() if value}
    tags = [*run["tags"], *_list_names(run["names"].get("tags")), *other]
    return ModelCardData(**kept, tags=tags, eval_results=results or None)


def remove_metadata(card: ModelCard, run: dict[str, Any] | None) -> None:
    """
    Remove the metadata of a run from a card, and keep what its user added.

    Args:
        card ([`~huggingface_hub.ModelCard`]):
            Card of the run, which is changed.
        run (`dict[str, Any]`, *optional*):
            Facts of the run; `None` if its record is broken.

    Example:
    ```python
    >>> card = ModelCard("---\\nlicense: mit\\nmodel_name: tiny\\ntags: [trl, mine]\\n---\\nText")
    >>> remove_metadata(card, {"tags": ["trl"], "names": {}, "model": {"adapter": None}})
    >>> card.data.to_dict()
    {'license': 'mit', 'tags': ['mine']}
    ```
    """
    run = run or {"names": {}, "tags": [], "model": {"adapter": None}}
    adapter = run["model"]["adapter"]
    of_peft = [adapter["type"].lower(), "transformers"] if adapter else []
    of_the_run = [*run["tags"], *_list_names(run["names"].get("tags")), *of_peft]
    kept = card.data.to_dict()
    tags = [tag for tag in _list_names(kept.pop("tags", None)) if tag not in of_the_run]
    for name in _OF_THE_RUN:
        kept.pop(name, None)
    card.data = ModelCardData(**kept, tags=tags or None)


def _list_names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or []]
