"""Recipes, and configs of accelerate: YAML files that ship with the package and are found by their names."""

import difflib
from pathlib import Path

from ..run.user_errors import UserError


_FLAGS = {"recipes": ("--config", "recipe"), "accelerate_configs": ("--accelerate_config", "config")}


def find_examples() -> Path:
    """
    Find the folder that has the recipes and the configs of accelerate.

    Returns:
        `Path`: `trl_forking/examples` of an installed wheel, or `examples` of a checkout.

    Example:
    ```python
    >>> from trl_forking.commands.recipes import find_examples
    >>> (find_examples() / "recipes").is_dir()
    True
    ```
    """
    installed = Path(__file__).parents[1] / "examples"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "examples"


def find_config(name: str, folder: str) -> Path:
    """
    Find a YAML file by its path, or by its name in a folder of the examples.

    Args:
        name (`str`):
            A path, or the name of a file in the folder, with or without `.yaml`. A path wins over a name.
        folder (`str`):
            `"recipes"` or `"accelerate_configs"`.

    Returns:
        `Path`: the file.

    Raises:
        [`UserError`]: if there is no such file; the message has the nearest name.

    Example:
    ```python
    >>> from trl_forking.commands.recipes import find_config
    >>> find_config("cpu_smoke", "recipes").name
    'cpu_smoke.yaml'
    ```
    """
    known = {path.stem: path for path in sorted((find_examples() / folder).glob("*.yaml"))}
    if Path(name).is_file():
        return Path(name)
    if name.removesuffix(".yaml") in known:
        return known[name.removesuffix(".yaml")]
    flag, kind = _FLAGS[folder]
    beside = [str(path) for path in Path(name).parent.glob("*.y*ml")] if Path(name).parent.is_dir() else []
    close = difflib.get_close_matches(name.removesuffix(".yaml"), known, n=1)
    close = close or difflib.get_close_matches(name, beside, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the {kind}s are {', '.join(known)}."
    raise UserError(f"{flag} {name}: there is no such file and no such {kind}; {hint}")


def describe_recipes() -> str:
    """
    List the recipes with their titles, for a help text.

    Returns:
        `str`: a line for each recipe.

    Example:
    ```python
    >>> from trl_forking.commands.recipes import describe_recipes
    >>> print(describe_recipes())
    Recipes
      control_all_tokens       ...
    ```
    """
    recipes = sorted((find_examples() / "recipes").glob("*.yaml"))
    return "\n".join(["Recipes", *(f"  {path.stem:24s} {_read_title(path)}" for path in recipes)])


def _read_title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().strip("# \n")
