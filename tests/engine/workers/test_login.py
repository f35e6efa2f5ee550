"""Which turns are let through after a refused login, and what of it a client is told."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from claude_server.core.errors import (
    AccountProblem,
    LoginLost,
    LoginRefused,
    Overloaded,
    RateLimited,
    TurnError,
    UsageLimitReached,
)
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.workers.login import SECOND_TRY_AFTER, LoginState, LoginUse
from tests.support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def trials() -> list[float]:
    """When processes that may hold an old login were to end."""
    return []


@pytest.fixture
def login(tmp_path: Path, clock: Clock, trials: list[float]) -> LoginState:
    return LoginState(tmp_path, clock, lambda: trials.append(clock.now))


def refuse(use: LoginUse) -> TurnError:
    """A 401 for this attempt."""
    assert use.refusal is None
    error = use.failed(LoginRefused("no"))
    use.ended(complete=False)
    return error


def lose(login: LoginState, clock: Clock) -> None:
    """Two 401, one after the other."""
    assert type(refuse(login.enter())) is LoginRefused
    clock.now += SECOND_TRY_AFTER
    assert type(refuse(login.enter())) is LoginLost
    assert login.logged_in is False


def is_open(login: LoginState) -> bool:
    """Would a turn be let through? It is given up at once."""
    use = login.enter()
    use.ended(complete=False)
    return use.refusal is None


@pytest.mark.parametrize("reported", [None, True])
def test_nothing_is_barred_before_a_refusal(login: LoginState, reported: bool | None) -> None:
    login.reported(reported)
    assert (login.logged_in, login.problem, login.ready) == (reported, None, True)
    assert is_open(login)


def test_the_word_of_the_cli_alone_bars_nobody(login: LoginState, tmp_path: Path) -> None:
    """A turn costs nothing then, and shows if it still holds."""
    advice = LoginAdvice("/opt/claude")
    login.reported(False, advice)
    assert (login.logged_in, login.problem, login.ready) == (False, advice.not_logged_in(), False)
    assert is_open(login)
    (tmp_path / ".credentials.json").write_text("{}")
    assert login.ready


# One 401, and the second


def test_one_401_bars_nobody(login: LoginState, clock: Clock) -> None:
    """Of all that run, and of all that come before the second try, none is refused."""
    running = [login.enter() for _ in range(8)]
    error = refuse(running[0])
    assert (type(error), error.retryable, error.retry_after) == (LoginRefused, True, SECOND_TRY_AFTER)
    assert (login.problem, login.ready) == (None, True)
    clock.now += 0.5
    # Others that meet it within the wait are no second try.
    assert type(refuse(login.enter())) is LoginRefused
    assert {type(refuse(use)) for use in running[1:]} == {LoginRefused}
    clock.now += 0.5
    login.enter().answered()
    assert (login.logged_in, login.problem, login.ready) == (True, None, True)
    # It counts anew.
    assert type(refuse(login.enter())) is LoginRefused


def test_an_answer_from_before_the_401_clears_nothing(login: LoginState, clock: Clock) -> None:
    before = login.enter()
    clock.now += 1
    refuse(login.enter())
    before.answered()
    clock.now += SECOND_TRY_AFTER
    assert type(refuse(login.enter())) is LoginLost


def test_a_401_that_nothing_followed_is_forgotten(login: LoginState, clock: Clock) -> None:
    refuse(login.enter())
    clock.now += 3600
    assert type(refuse(login.enter())) is LoginRefused


def test_the_second_401_closes_the_door(login: LoginState, clock: Clock) -> None:
    running = login.enter()
    lose(login, clock)
    assert (login.problem, login.ready) == ("no", False)
    use = login.enter()
    assert use.refusal is not None and use.refusal.message == "no" and use.refusal.retry_after == 5.0
    # Whoever is met by it now is told the same, and makes the pause no longer.
    error = refuse(running)
    assert (type(error), error.retryable, error.retry_after) == (LoginLost, False, 5.0)


@pytest.mark.parametrize("renewed", [False, True])
def test_the_clis_own_word_is_final_unless_the_login_was_renewed(
    login: LoginState, tmp_path: Path, renewed: bool
) -> None:
    """Another process may have renewed it, and this one come too late."""
    use = login.enter()
    if renewed:
        (tmp_path / ".credentials.json").write_text("{}")
    error = use.failed(LoginLost("expired"))
    assert type(error) is (LoginRefused if renewed else LoginLost)
    assert is_open(login) is renewed


# The trials


def test_one_turn_tries_at_the_end_of_each_pause(
    login: LoginState, clock: Clock, trials: list[float]
) -> None:
    lose(login, clock)
    begun = clock.now
    for _ in range(600):
        clock.now += 0.5
        use = login.enter()
        if use.refusal is None:
            # The others are not let through while it is under way, or after it failed.
            barred = login.enter().refusal
            assert not login.ready and barred is not None and (barred.retry_after or 0) > 0
            assert type(refuse(use)) is LoginLost
            assert login.enter().refusal is not None and not login.ready
    waits = [later - earlier for earlier, later in itertools.pairwise([begun, *trials])]
    assert waits[:4] == [5.0, 10.0, 20.0, 30.0] and set(waits[4:]) == {30.0}


def test_it_is_ready_when_a_turn_would_be_let_through(login: LoginState, clock: Clock) -> None:
    lose(login, clock)
    clock.now += 5
    assert login.ready
    trial = login.enter()
    assert trial.refusal is None and not login.ready
    trial.ended(complete=False)
    assert login.ready


def test_a_trial_that_shows_nothing_is_given_back_at_once(login: LoginState, clock: Clock) -> None:
    """Its client left, it took too long, its process died."""
    lose(login, clock)
    clock.now += 5
    for _ in range(3):
        trial = login.enter()
        assert trial.refusal is None and login.enter().refusal is not None
        assert type(trial.failed(Overloaded("no room for a process"))) is Overloaded
        trial.ended(complete=False)
    assert login.ready


def test_any_answer_to_a_trial_opens_the_door(login: LoginState, clock: Clock) -> None:
    """A 400, a 404, a 529: the login was taken. Its own next try is none of a refused one."""
    lose(login, clock)
    clock.now += 5
    trial = login.enter()
    trial.answered()
    assert (login.logged_in, login.problem, login.ready) == (True, None, True)
    assert all(login.enter().refusal is None for _ in range(8))
    trial.ended(complete=False)
    # The next time the first pause is short again.
    lose(login, clock)
    refusal = login.enter().refusal
    assert refusal is not None and refusal.retry_after == 5.0


def test_fresh_credentials_are_tried_by_all_at_once(
    login: LoginState, clock: Clock, tmp_path: Path, trials: list[float]
) -> None:
    file = tmp_path / ".credentials.json"
    file.write_text("{}")
    lose(login, clock)
    assert not is_open(login) and trials == []
    file.write_text('{"fresh": true}')
    assert login.ready
    uses = [login.enter() for _ in range(4)]
    assert [use.refusal for use in uses] == [None] * 4
    # No process with the old ones serves them.
    assert trials == [clock.now]
    # One 401 of these is the first again.
    assert type(refuse(uses[0])) is LoginRefused
    clock.now += SECOND_TRY_AFTER
    assert type(refuse(login.enter())) is LoginLost
    assert not is_open(login)


def test_the_credentials_are_not_read(login: LoginState, clock: Clock, tmp_path: Path) -> None:
    """Whoever opened this one would wait for ever."""
    lose(login, clock)
    os.mkfifo(tmp_path / ".credentials.json")
    assert is_open(login)


# The account


def succeed(login: LoginState) -> None:
    use = login.enter()
    use.answered()
    use.ended(complete=True)


def test_trouble_with_the_account_is_shown_until_a_turn_succeeds(login: LoginState, clock: Clock) -> None:
    """But for a minute at least: another kind of turn may succeed all the time."""
    assert login.trouble is None
    use = login.enter()
    error = AccountProblem("No credit. Add some.")
    assert use.failed(error) is error
    use.ended(complete=False)
    succeed(login)
    assert login.trouble == error.message
    assert login.problem is None and login.ready
    clock.now += 60
    assert login.trouble == error.message
    succeed(login)
    assert login.trouble is None


def test_a_limit_is_shown_until_its_reset(login: LoginState, clock: Clock) -> None:
    login.enter().failed(RateLimited("brief", retry_after=60))
    assert login.trouble is None
    login.enter().failed(RateLimited("long", retry_after=61))
    assert login.trouble == "long"
    clock.now += 61
    assert login.trouble is None
    login.enter().failed(UsageLimitReached("no time told"))
    clock.now += 3600
    assert login.trouble == "no time told"
