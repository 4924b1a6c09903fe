"""What is said of an error of the Hub, without a server: the reason, the server's words and the remedy."""

import json

import pytest
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

from trl_forking.hub.errors import NO_TOKEN, OFFLINE, PushError, describe_failure, describe_name, is_from_client


def chain(*errors: Exception) -> Exception:
    """Return the first error, caused by the second, and so on."""
    for error, cause in zip(errors, errors[1:], strict=False):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OfflineModeIsEnabled("offline"), OFFLINE),
        (LocalTokenNotFoundError("no token"), NO_TOKEN),
        (ConnectionError("refused"), "https://huggingface.co cannot be reached (refused): check the network"),
        (TimeoutError("slow"), "https://huggingface.co cannot be reached (slow): check the network"),
        (
            ConnectionError("HTTP status client error (413 Payload Too Large) for url"),
            "a file is too large for the Hub (413: Payload Too Large): save in smaller shards",
        ),
        (
            ConnectionError("HTTP status server error (503 Service Unavailable) for url"),
            "the Hub has trouble (503: Service Unavailable): wait a few minutes",
        ),
        (
            ConnectionError("HTTP status client error (418 I'm a teapot) for url"),
            "the Hub refused it (418: I'm a teapot): read its answer",
        ),
        (json.JSONDecodeError("no JSON", "<html>", 0), "the server at https://huggingface.co is not the Hub"),
        (RuntimeError("a bug"), "of RuntimeError (a bug): fix this error"),
    ],
)
def test_reason_and_remedy(error, expected):
    assert describe_failure(error).startswith(expected)


def test_the_reason_may_be_the_cause_of_a_cause():
    error = chain(PushError("it failed"), ValueError("on the way"), OfflineModeIsEnabled("offline"))
    assert describe_failure(error) == OFFLINE
    assert (
        describe_failure(chain(PushError("it failed"), ValueError("why")))
        == "of PushError (it failed): fix this error"
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("me/my run (3)", "me/my-run-3"), ("a..b--c", "a.b-c"), ("me/run.git", "me/run"), ("///", "my-model"), ("ü", "my-model")],
)  # fmt: skip
def test_a_name_is_answered_with_the_nearest_one_that_is_allowed(name, nearest):
    assert f"is {name!r}, which the Hub does not allow: set it to {nearest!r} " in describe_name(name)


def test_only_what_the_client_raised_is_of_the_client():
    assert is_from_client(PushError("no"))
    with pytest.raises(OfflineModeIsEnabled) as raised:
        raise OfflineModeIsEnabled("raised here, and not by the client")
    assert not is_from_client(raised.value)
