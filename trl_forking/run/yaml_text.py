"""YAML of a user, read within bounds: a few lines of aliases can stand for more values than a memory holds."""

from typing import Any

import yaml


_MOST_VALUES = 100_000
_MOST_LEVELS = 100


def load_yaml(text: str) -> Any:
    """
    Read YAML as `yaml.safe_load` does, and refuse what is nested too deeply or grows too large.

    Args:
        text (`str`):
            YAML.

    Returns:
        `Any`: the value.

    Raises:
        `yaml.YAMLError`: if the text isn't YAML, it has more than 100 levels, or its aliases stand for more than 100,000
            values.

    Example:
    ```python
    >>> from trl_forking.run.yaml_text import load_yaml
    >>> load_yaml("beta: &zero 0.0\\nentropy_coef: *zero")
    {'beta': 0.0, 'entropy_coef': 0.0}
    ```
    """
    compose_yaml(text)
    return yaml.safe_load(text)


def compose_yaml(text: str) -> yaml.Node | None:
    """
    Read YAML as nodes, which know their lines.

    Args:
        text (`str`):
            YAML.

    Returns:
        `yaml.Node` or `None`: the node of the whole text; `None` for an empty text.

    Raises:
        `yaml.YAMLError`: as of [`load_yaml`], except that unknown tags pass.

    Example:
    ```python
    >>> from trl_forking.run.yaml_text import compose_yaml
    >>> compose_yaml("a: 1").value[0][1].value
    '1'
    ```
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError as error:
        raise _too_deep() from error
    if node is not None:
        _measure(node, {}, set())
    return node


def _too_deep(node: yaml.Node | None = None) -> yaml.MarkedYAMLError:
    problem = f"it is nested more than {_MOST_LEVELS} levels deep: write it flatter"
    return yaml.MarkedYAMLError(problem=problem, problem_mark=None if node is None else node.start_mark)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    """Count the values and the levels that a node stands for. A node that several aliases name counts at each."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an alias stands inside of what it names", problem_mark=node.start_mark)
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in parts for part in pair]
    measures = [_measure(part, known, above | {id(node)}) for part in parts]
    size, levels = 1 + sum(size for size, _ in measures), 1 + max((levels for _, levels in measures), default=0)
    if levels > _MOST_LEVELS:
        raise _too_deep(node)
    if size > _MOST_VALUES:
        problem = f"it stands for more than {_MOST_VALUES:,} values: repeat less by aliases"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    known[id(node)] = size, levels
    return size, levels
