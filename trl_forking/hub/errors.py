"""Errors of the Hub in plain words, with what to do about them."""

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
_WITH_WRITE_ACCESS = "give a token with write access (https://huggingface.co/settings/tokens) in HF_TOKEN or hub_token"
_GET_SPACE = "get more (https://huggingface.co/settings/billing)"
_BY_STATUS = {
    401: f"the Hub does not accept the token: {_WITH_WRITE_ACCESS}",
    402: f"the account has no room left: {_GET_SPACE}",
    403: f"the token may not write there: {_WITH_WRITE_ACCESS}, or set hub_model_id to a repository of your own",
    404: "it does not exist or the token may not see it: check hub_model_id and hub_revision",
    409: "something else was written at the same time: wait a moment",
    412: "something else was written at the same time: wait a moment",
    413: "a file is too large for the Hub: save in smaller shards",
    429: "too many requests were sent: wait a few minutes",
    507: f"the Hub has no room left: {_GET_SPACE}",
}
# Versions of huggingface_hub use different HTTP libraries, and their errors have no type in common.
_TRANSPORT = ("httpx", "httpcore", "requests")
_CLIENT = ("huggingface_hub", "hf_xet", *_TRANSPORT)
_STATUS_OF_XET = re.compile(
    r"HTTP status \w+ error \((\d+) ([^)]*)\)"
)  # hf_xet raises a ConnectionError for every status


class PushError(OSError):
    """
    A push to the Hub failed. Everything is still on the disk. The `__cause__` is the error of huggingface_hub.

    Example:
    ```python
    >>> from trl_forking.hub.errors import PushError
    >>> issubclass(PushError, OSError)  # like the errors of huggingface_hub
    True
    ```
    """


def describe_failure(error: BaseException | None) -> str:
    """
    Say why the Hub could not be reached or did not accept something, and what to do about it.

    Args:
        error (`BaseException`):
            Error of huggingface_hub.

    Returns:
        `str`: reason and remedy, as a part of a sentence.

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
            return f"the server at {ENDPOINT} is not the Hub, but perhaps a proxy: check the network"
        if isinstance(cause, HFValidationError):
            return f"the Hub does not allow that name ({_shorten(cause)}): set hub_model_id"
        if isinstance(cause, ConnectionError | TimeoutError) or type(cause).__module__.startswith(_TRANSPORT):
            return f"{ENDPOINT} cannot be reached ({_shorten(cause)}): check the network"
    return f"of {type(error).__name__} ({_shorten(error)}): fix this error"


def describe_name(repo_id: str) -> str:
    """
    Say that a name is not allowed, and suggest a similar name.

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
    Return whether an error comes from huggingface_hub, and not from the work before the push.

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
    otherwise = "the Hub has trouble: wait a few minutes" if status >= 500 else "the Hub refused it: read its answer"
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
