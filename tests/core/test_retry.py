"""When a failed attempt is made again."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.core import errors
from claude_server.core.errors import (
    CliFailed,
    InvalidAnswer,
    LoginLost,
    LoginRefused,
    NotReady,
    Overloaded,
    RateLimited,
    TurnError,
    UsageLimitReached,
)
from claude_server.core.retry import BACKOFF_CAP, RetryPolicy

FAILURE = CliFailed("crashed")
ALL_ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, TurnError) and kind is not TurnError
]


def test_which_errors_are_retried() -> None:
    retried = {kind.__name__ for kind in ALL_ERRORS if kind.retryable}
    assert retried == {
        "RateLimited",
        "Overloaded",
        "ApiUnreachable",
        "CliFailed",
        "TurnTimeout",
        "StateFailed",
        "InvalidAnswer",
        # One 401 may pass.
        "LoginRefused",
    }


def test_an_error_carries_its_data() -> None:
    error = TurnError("no", retry_after=2.5, param="model")
    assert (str(error), error.message, error.retry_after, error.param) == ("no", "no", 2.5, "model")
    assert (TurnError("no").retry_after, TurnError("no").param) == (None, None)


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_only_retryable_errors_get_a_delay(kind: type[TurnError]) -> None:
    assert (RetryPolicy(5, 2.0).delay(kind("x"), 1, 0.0) is not None) == kind.retryable


def test_the_backoff_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(100, 2.0)
    assert [policy.delay(FAILURE, n, 0.0) for n in range(1, 8)] == [2, 4, 8, 16, 32, 60, 60]
    assert policy.delay(FAILURE, 100, 0.0) == BACKOFF_CAP


def test_jitter_shortens_by_a_fifth_at_most() -> None:
    policy = RetryPolicy(9, 10.0)
    assert policy.delay(FAILURE, 1, 0.5) == pytest.approx(9.0)
    assert policy.delay(FAILURE, 9, 1.0) == pytest.approx(48.0)


@given(st.floats(0, 100), st.integers(1, 100), st.floats(0, 1, exclude_max=True), st.integers(1, 100))
def test_a_delay_is_never_negative_or_beyond_the_cap(
    base: float, failed: int, jitter: float, retries: int
) -> None:
    delay = RetryPolicy(retries, base).delay(FAILURE, failed, jitter)
    if failed > retries:
        assert delay is None
    else:
        assert delay is not None
        full = min(60.0, base * 2.0 ** (failed - 1))
        assert 0 <= 0.8 * full <= delay <= full <= BACKOFF_CAP


def test_retries_are_counted_after_the_first_try() -> None:
    policy = RetryPolicy(2, 1.0)
    assert [policy.delay(FAILURE, n, 0.0) for n in (1, 2, 3)] == [1, 2, None]
    assert RetryPolicy(0, 1.0).delay(FAILURE, 1, 0.0) is None


def test_no_backoff_is_a_delay_of_nothing_and_not_an_end() -> None:
    assert RetryPolicy(1, 0.0).delay(FAILURE, 1, 0.0) == 0


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_an_answer_without_its_form_is_asked_for_once_more_and_at_once(retries: int) -> None:
    policy = RetryPolicy(retries, 2.0)
    wanted = [0.0 if retries else None, None, None]
    assert [policy.delay(InvalidAnswer("x"), n, 0.0) for n in (1, 2, 3)] == wanted


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (RateLimited("x", retry_after=30), 30),
        (RateLimited("x", retry_after=60), 60),
        (RateLimited("x", retry_after=60.5), None),
        (RateLimited("x", retry_after=0), 4),
        (RateLimited("x"), 4),
        # The time is only a limit's to tell.
        (Overloaded("x", retry_after=500), 4),
        (NotReady("x", retry_after=1), None),
        (LoginRefused("x", retry_after=1), 1),
        (LoginLost("x", retry_after=1), None),
        (UsageLimitReached("x"), None),
    ],
)
def test_the_time_that_a_limit_names_is_kept(error: TurnError, delay: float | None) -> None:
    assert RetryPolicy(5, 4.0).delay(error, 1, 0.0) == delay
