"""The one place that removes secrets: from settings by the names they stand under, and from any text by their form."""

import copy
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any
from urllib.parse import unquote

from .plain import is_of_torch


# Words that make any name the name of a secret, and names of several words that do.
_ALWAYS = re.compile(
    r"secrets?|passwords?|passwds?|pwds?|passphrases?|passcodes?|credentials?|creds?|authorization|cookies?|bearer"
    r"|\w*(?:api|auth|access|session|secret|private|bearer|refresh|user|hub|hf|github|gitlab|slack|bot)(?:key|token)s?"
    r"|htpasswd|dsn"
)
_PHRASES = ("connection string", "webhook url", "webhook")
# Words that make a name the name of a secret if they are its last, and the words before them that tell otherwise.
_LAST = {"token", "tokens", "key", "keys", "auth", "oauth", "pass", "pat", "jwt", "sas", "signature", "sig"}
_ENDINGS = {"id", "ids", "value", "values", "string", "str", "header", "headers", "raw", "plain", "base", "b", "hex"}
_HARMLESS = {
    "token": "pad padding eos bos unk sep cls mask image video audio vision special additional extra stop start end begin "
    "boi eoi think thinking max min num n number total new kept dropped counted forking suppress suppressed forced bad "
    "virtual trainable added skip add include ignore ignored prompt completion response answer generated batched top last "
    "first next draft speculative kl word byte newline fim prefix suffix middle",
    "key": "text prompt answer column label image video audio sort dict json primary foreign metric cache input output target "
    "gold problem question row feature ignore missing unexpected public sequence length completion response reward message "
    "num n max value values head heads layer attention kv lookup",
    "pass": "single multi forward backward",
    "pat": "",
    "sig": "",
    "auth": "",
}
_KINDS = {"tokens": "token", "jwt": "auth", "sas": "auth", "keys": "key", "oauth": "auth", "signature": "sig"}
# A special token, such as <|im_end|> or [PAD], is no secret whatever it is called.
_SPECIAL_TOKEN = re.compile(r"<[^<>]{1,60}>|\[[^\[\]]{1,60}\]|\s*")

# `re` compiles these on their first use and keeps them: it would make the import of the trainer slower.
# Forms of secrets. Each is rare enough that ordinary text has none.
_FORMS = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"  # a JSON web token
    r"|\b(?:hf_|api_org_)[A-Za-z0-9]{16,}"
    r"|\bsk-[\w-]{16,}|\b[sp]k-lf-[\w-]{16,}|\b[rs]k_(?:live|test)_\w{10,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bya29\.[\w-]{20,}"
    r"|\bxox[abeoprs]-[\w-]{10,}|hooks\.slack\.com/services/[\w/]+|discord(?:app)?\.com/api/webhooks/[\w/-]+"
    r"|\bnvapi-[\w-]{20,}|\bgsk_\w{20,}|\br8_\w{20,}|\bnpm_\w{30,}|\bpypi-[\w-]{30,}|\bwandb_v1_[\w-]{10,}|\blsv2_\w{20,}"
    r"|\btgp_v1_[\w-]{16,}|\bpplx-\w{20,}|\bdop_v1_\w{20,}|\bSG\.[\w-]{16,}\.[\w-]{16,}"
    r"|\bBearer\s+(?=[\w.~+/-]*\d)[\w.~+/-]{12,}=*|\bBasic\s+(?=[A-Za-z0-9+/]*\d)[A-Za-z0-9+/]{12,}={0,2}"
)
_USER_IN_ADDRESS = re.compile(r"(\b[a-zA-Z][\w+.-]*://)[^/@\s\"'<>]+@")
_QUERY = re.compile(r"(?<=[?&#;])([\w.~%\[\]-]+)=([^&#;\s\"'<>]*)(&|;)?")
_ASSIGNED = r"""(?P<name>[A-Za-z][\w.-]*)["']?(?P<sign>\s*[:=]\s*|\s+(?=["']))(?P<value>"[^"]*"|'[^']*'|(?:Bearer\s+|Basic\s+)?[^\s,;&"'{}\[\]]+)"""
_OF_ADDRESS = {"key", "sig", "signature", "code", "auth", "token", "pwd", "pass", "sas"}
REMOVED = "<removed>"
"""What stands in a text where a secret was."""


def is_secret_name(name: object, parent: object = "") -> bool:
    """
    Tell whether the value under a name is secret.

    Args:
        name (`object`):
            Name of a setting, a header or a variable, in any spelling.
        parent (`object`, *optional*):
            Name of the mapping that it is in. It tells what a bare `tokens` or `keys` are.

    Returns:
        `bool`

    Example:
    ```python
    >>> [name for name in ("hub_token", "api_keys", "AWSAccessKeyId", "x-api-key", "passwd") if not is_secret_name(name)]
    []
    >>> [name for name in ("pad_token", "eos_token_id", "max_tokens", "num_tokens", "text_key") if is_secret_name(name)]
    []
    ```
    """
    words = _split(name)
    if any(_ALWAYS.fullmatch(word) for word in words) or any(phrase in " ".join(words) for phrase in _PHRASES):
        return True
    while len(words) > 1 and (words[-1] in _ENDINGS or words[-1].isdigit()):
        words = words[:-1]
    if not words or words[-1] not in _LAST:
        return False
    kind = _KINDS.get(words[-1], words[-1])
    if kind == "pass":
        return len(words) == 1 or words[-2] not in _HARMLESS["pass"].split()
    before = words[:-1] or (_split(parent) if words[-1] in ("tokens", "keys") else [])
    return not set(before) & set(_HARMLESS[kind].split())


def _split(name: object) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", str(name))]


def remove_secrets(value: Any) -> Any:
    """
    Remove secrets from settings, at any depth.

    What has the name of a secret is removed with its name. In all other strings, user and password in addresses,
    secret parameters in their queries, assignments such as `api_key=...`, and what has the form of a token or key are
    removed. A secret that also stands elsewhere under a harmless name is removed there as well.

    Args:
        value (`Any`):
            Plain values, or objects with attributes. Nothing is changed in place.

    Returns:
        `Any`: the value, or a copy of it where something was removed.

    Example:
    ```python
    >>> remove_secrets({"headers": {"authorization": "Bearer x"}, "vllm_server_base_url": "http://me:secret@node:8000"})
    {'headers': {}, 'vllm_server_base_url': 'http://node:8000'}
    >>> remove_secrets({"url": "https://node/v1?api_key=abc&n=1", "pad_token": "<pad>", "max_tokens": 5})
    {'url': 'https://node/v1?n=1', 'pad_token': '<pad>', 'max_tokens': 5}
    ```
    """
    found: set[str] = set()
    cleaned = _Remover(found.add).clean(value)
    known = sorted(filter(_is_distinctive, found), key=len, reverse=True)
    if known:
        pattern = re.compile("|".join(map(re.escape, known)))
        cleaned = _Remover(lambda secret: None, lambda text: pattern.sub(REMOVED, text)).clean(cleaned)
    return cleaned


def _is_distinctive(secret: str) -> bool:
    """Return whether a secret can be looked for elsewhere: a short or common word would be found where it is none."""
    return len(secret) >= 16 or (len(secret) >= 8 and not secret.isalpha())


def remove_secrets_from_text(text: str) -> str:
    """
    Remove secrets from a text of any kind, such as a card, by their form alone.

    Args:
        text (`str`):
            Text.

    Returns:
        `str`: the text without user and password in addresses, secret parameters in their queries, and what has the form
        of a token or key.

    Example:
    ```python
    >>> remove_secrets_from_text("Data: https://me:pw@host/a.json?token=abc by hf_abcdefghijklmnopqrst")
    'Data: https://host/a.json by <removed>'
    ```
    """
    if "://" in text:
        text = _USER_IN_ADDRESS.sub(r"\1", text)
        text = re.sub(r"\b[a-zA-Z][\w+.-]*://[^\s\"'<>`]+", lambda match: _clean_query(match[0]), text)
    return re.sub(_FORMS, REMOVED, text, flags=re.DOTALL)


def _clean_query(address: str) -> str:
    def remove(match: re.Match[str]) -> str:
        name = unquote(match[1])
        return "" if is_secret_name(name) or name.lower() in _OF_ADDRESS else match[0]

    cleaned = _QUERY.sub(remove, address)
    return re.sub(r"[?&#;]+(?=#|$)", "", cleaned)


def _clean_string(text: str) -> str:
    """Remove secrets from the value of a setting, which may be a command line or JSON."""
    if len(text) < 4:
        return text
    text = remove_secrets_from_text(text)

    def remove(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"].strip("\"'")
        is_bare = len(_split(name)) == 1 and not _ALWAYS.fullmatch(name.lower()) and "=" not in match["sign"]
        if is_bare or not is_secret_name(name) or not _is_secret_value(name, value):
            return match[0]
        return match[0][: match.start("value") - match.start()] + REMOVED

    return re.sub(_ASSIGNED, remove, text) if re.search(r"[=:]|--", text) else text


def _is_secret_value(name: object, value: Any) -> bool:
    """Return whether a value can be a secret: no flag, and a number only under a name that stands for nothing else."""
    if value is None or isinstance(value, (bool, Enum)):
        return False
    if isinstance(value, (int, float)):
        return any(_ALWAYS.fullmatch(word) for word in _split(name)) and _split(name)[0] not in ("num", "max", "min")
    if isinstance(value, (str, bytes)):
        text = value if isinstance(value, str) else value.decode("utf-8", "replace")
        return not _SPECIAL_TOKEN.fullmatch(text) and text.lower() not in ("true", "false", "none", "null", REMOVED)
    if isinstance(value, Mapping):
        return any(_is_secret_value(name, item) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_is_secret_value(name, item) for item in value)
    return not isinstance(value, type) and not is_of_torch(value, "Tensor", "dtype") and not callable(value)


class _Remover:
    """Walks through settings. `note` gets every secret text that it leaves out, and `clean_text` every text that stays."""

    def __init__(self, note: Callable[[str], Any], clean_text: Callable[[str], str] = _clean_string):
        self._note, self._clean_text = note, clean_text
        self._open: set[int] = set()

    def clean(self, value: Any, parent: object = "") -> Any:
        if isinstance(value, str):
            return self._clean_scalar(value)
        if id(value) in self._open:  # a value that holds itself
            return None
        self._open.add(id(value))
        try:
            return self._clean_container(value, parent)
        finally:
            self._open.discard(id(value))

    def _clean_scalar(self, value: str) -> str:
        if isinstance(value, Enum):
            return value
        cleaned = self._clean_text(value)
        return value if cleaned == value else cleaned

    def _clean_container(self, value: Any, parent: object) -> Any:
        if isinstance(value, bytes):
            text = value.decode("latin-1")
            cleaned = self._clean_scalar(text)
            return value if cleaned == text else cleaned.encode("latin-1")
        if isinstance(value, dict):
            return self._clean_mapping(value, parent)
        if isinstance(value, (list, tuple)):
            items = self._clean_items(value, parent)
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return value._make(items) if hasattr(value, "_make") else type(value)(items)
        if isinstance(value, (set, frozenset)):
            return type(value)(self.clean(item) for item in value)
        return self._clean_object(value)

    def _clean_mapping(self, value: dict[Any, Any], parent: object) -> dict[Any, Any]:
        # A variable of a container or a header may be written as {"name": "API_KEY", "value": "..."}.
        label = value.get("name", value.get("key")) if {"value"} < value.keys() else None
        named = {"value"} if isinstance(label, str) and is_secret_name(label) else set()
        kept, unchanged = {}, True
        for name, item in value.items():
            if name in named or (is_secret_name(name, parent) and _is_secret_value(name, item)):
                self._note_all(item)
                unchanged = False
                continue
            kept[name] = self.clean(item, name)
            unchanged = unchanged and kept[name] is item
        return value if unchanged else kept

    def _clean_items(self, values: Any, parent: object) -> list[Any]:
        items: list[Any] = []
        for number, item in enumerate(values):
            before = values[number - 1] if number else None
            # A command line: the value comes after its flag.
            is_value = isinstance(before, str) and before.startswith("-") and is_secret_name(before)
            if is_value and isinstance(item, str) and not item.startswith("--"):
                self._note(item)
                item = REMOVED
            items.append(self.clean(item, parent))
        return items

    def _clean_object(self, value: Any) -> Any:
        attributes = getattr(value, "__dict__", None)
        opaque = (
            isinstance(value, (type, Enum)) or is_of_torch(value, "Tensor", "nn.Module", "device") or callable(value)
        )
        if not attributes or opaque or type(value).__module__ == "builtins":
            return value
        cleaned = self._clean_attributes(attributes)
        if cleaned is attributes:
            return value
        copied = copy.copy(value)
        for name in attributes:
            object.__setattr__(copied, name, cleaned[name])
        return copied

    def _clean_attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Remove secrets from the attributes of an object, all of which it keeps."""
        cleaned = self._clean_mapping(attributes, "")
        return cleaned if cleaned is attributes else {name: cleaned.get(name) for name in attributes}

    def _note_all(self, value: Any) -> None:
        if isinstance(value, (str, bytes)):
            self._note(value if isinstance(value, str) else value.decode("latin-1"))
        elif isinstance(value, dict):
            for item in value.values():
                self._note_all(item)
        elif isinstance(value, (list, tuple, set, frozenset)):
            for item in value:
                self._note_all(item)
