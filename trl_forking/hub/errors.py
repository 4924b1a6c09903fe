"""What went wrong with the Hub, and what to do about it, in words."""

import json
import re
from collections.abc import Iterator
from types import TracebackType

from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)


NO_TOKEN = "there is no token for the Hub: run `hf auth login`, or set HF_TOKEN"
OFFLINE = "HF_HUB_OFFLINE is set: unset it"
_WITH_WRITE_ACCESS = "give one with write access (https://huggingface.co/settings/tokens) in HF_TOKEN or hub_token"
_MAKE_ROOM = "make some (https://huggingface.co/settings/billing)"
_BY_STATUS = {
    401: f"the Hub does not accept the token: {_WITH_WRITE_ACCESS}",
    402: f"the account has no room left: {_MAKE_ROOM}",
    403: f"the token may not write there: {_WITH_WRITE_ACCESS}, or set hub_model_id to a repository of your own",
    404: "it does not exist or the token may not see it: check hub_model_id and hub_revision",
    409: "something else was written at the same time: wait for it",
    412: "something else was written at the same time: wait for it",
    413: "the Hub takes nothing that large: save in smaller shards",
    429: "too many requests were sent: wait a few minutes",
    507: f"the Hub has no room left: {_MAKE_ROOM}",
}
# Versions of huggingface_hub differ in their HTTP library, and its own errors do not share a type.
_TRANSPORT = ("httpx", "httpcore", "requests")
_CLIENT = ("huggingface_hub", "hf_xet", *_TRANSPORT)
_STATUS_OF_XET = re.compile(r"HTTP status \w+ error \((\d+) ([^)]*)\)")  # a ConnectionError, whatever the status


class PushError(OSError):
    """
    The Hub did not take what it was sent; everything is still on disk. What it raised itself is the `__cause__`.

    Example:
    ```python
    >>> from trl_forking.hub.errors import PushError
    >>> issubclass(PushError, OSError)  # as the errors of huggingface_hub are
    True
    ```
    """


def describe_failure(error: BaseException | None) -> str:
    """
    Say why the Hub could not be reached or did not take something, and what to do about it.

    Args:
        error (`BaseException`):
            What huggingface_hub raised.

    Returns:
        `str`: reason and remedy, to stand within a sentence.

    Example:
    ```python
    >>> print(describe_failure(ConnectionError("Connection refused")))
    https://huggingface.co cannot be reached (Connection refused): check the network
    ```
    """
    causes = list(_walk_causes(error))
    for cause in causes:
        if isinstance(cause, OfflineModeIsEnabled):
            return OFFLINE
        if isinstance(cause, LocalTokenNotFoundError):
            return NO_TOKEN
        if isinstance(cause, HfHubHTTPError):
            return _describe_response(cause)
        if found := _STATUS_OF_XET.search(str(cause)):
            return _describe_status(int(found[1]), found[2])
        if isinstance(cause, json.JSONDecodeError):
            return f"what answers at {ENDPOINT} is not the Hub but, it may be, a proxy: check the network"
        if isinstance(cause, HFValidationError):
            return f"the Hub does not allow that name ({_shorten(cause)}): set hub_model_id"
        if isinstance(cause, ConnectionError | TimeoutError) or type(cause).__module__.startswith(_TRANSPORT):
            return f"{ENDPOINT} cannot be reached ({_shorten(cause)}): check the network"
    return f"of {type(error).__name__} ({_shorten(error)}): see to that"


def describe_name(repo_id: str) -> str:
    """
    Say that a name is not allowed, and which one near it is.

    Args:
        repo_id (`str`):
            Name of a repository, with or without its owner.

    Returns:
        `str`: one sentence.

    Example:
    ```python
    >>> print(describe_name("me/my run (3)"))
    hub_model_id (by default the name of output_dir) is 'me/my run (3)', which the Hub does not allow: set it to 'me/my-run-3' ...
    ```
    """
    parts = [_spell_allowed(part) for part in repo_id.split("/", maxsplit=1)]
    nearest = "/".join(part for part in parts if part)[:96].rstrip("-./") or "my-model"
    return (
        f"hub_model_id (by default the name of output_dir) is {repo_id!r}, which the Hub does not allow: set it to "
        f"{nearest!r} (at most 96 characters: A-Z, a-z, 0-9, '-', '_', '.' and the '/' after the owner; no '--' or '..')."
    )


def is_from_client(error: BaseException) -> bool:
    """
    Return whether an error came up in huggingface_hub, and not in what was done to have something to push.

    Example:
    ```python
    >>> is_from_client(RuntimeError("CUDA out of memory"))
    False
    ```
    """
    return isinstance(error, PushError) or any(name.startswith(_CLIENT) for name in _walk_modules(error.__traceback__))


def _describe_response(error: HfHubHTTPError) -> str:
    response = error.response
    if response.status_code == 401 and "authorization" not in response.request.headers:
        return NO_TOKEN
    said = error.server_message or response.headers.get("X-Error-Message") or response.reason_phrase
    return _describe_status(response.status_code, said)


def _describe_status(status: int, said: str) -> str:
    otherwise = "the Hub has trouble: wait for it" if status >= 500 else "the Hub refuses it: see what it says"
    reason, remedy = _BY_STATUS.get(status, otherwise).split(": ", 1)
    return f"{reason} ({status}: {_shorten(said)}): {remedy}"


def _spell_allowed(name: str) -> str:
    spelled = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name)
    while "--" in spelled or ".." in spelled:
        spelled = spelled.replace("--", "-").replace("..", ".")
    return spelled.strip("-.").removesuffix(".git")


def _walk_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _walk_modules(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        yield trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next


def _shorten(text: object, length: int = 150) -> str:
    words = " ".join(str(text).split())
    return words if len(words) <= length else f"{words[: length - 3]}..."
