"""How settings are copied and written: whatever leaves the process has no secret in it, and can be read back."""

import copy
from typing import Any

from .plain import make_plain
from .secrets import remove_secrets


class WrittenSettings:
    """
    Base of a config whose written forms have no secrets: pickles (`training_args.bin`) and what trackers get.

    The object itself keeps its secrets, and so do its copies.

    Example:
    ```python
    >>> import pickle
    >>> from trl_forking import ForkingGRPOConfig
    >>> args = ForkingGRPOConfig("runs/example", hub_token="hf_mine", model_init_kwargs={"token": "hf_mine", "dtype": "auto"})
    >>> written = pickle.loads(pickle.dumps(args))
    >>> written.hub_token, written.model_init_kwargs, copy.deepcopy(args).hub_token
    (None, {'dtype': 'auto'}, 'hf_mine')
    ```
    """

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled. Transformers pickles the settings of a run and pushes them to the Hub."""
        attributes = vars(self)
        cleaned = remove_secrets(attributes)
        return {name: cleaned.get(name) for name in attributes}

    def __copy__(self) -> "WrittenSettings":
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> "WrittenSettings":
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        vars(copied).update(copy.deepcopy(vars(self), memo))
        return copied

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values without secrets, which is what trackers and event files get."""
        copied = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (dict, list)):  # Transformers changes them in place
                setattr(copied, name, _copy_containers(value))
        plain: dict[str, Any] = make_plain(remove_secrets(super(WrittenSettings, copied).to_dict()))  # type: ignore[misc]
        return plain


def _copy_containers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy_containers(item) for name, item in value.items()}
    return [_copy_containers(item) for item in value] if isinstance(value, list) else value
