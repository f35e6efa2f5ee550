"""A refused login: who is barred, who tries again, and when."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from claude_cli.events import NOT_LOGGED_IN
from claude_cli.login import LoginState
from tests.support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def login(tmp_path: Path, clock: Clock) -> LoginState:
    return LoginState(tmp_path, clock)


@pytest.mark.parametrize("reported", [None, True])
def test_nothing_is_barred_before_a_refusal(login: LoginState, reported: bool | None) -> None:
    login.reported(reported)
    assert (login.logged_in, login.problem, login.ready, login.refusal()) == (reported, None, True, None)


def test_the_word_of_the_cli_alone_bars_nobody(login: LoginState, tmp_path: Path) -> None:
    """A turn costs nothing then, and shows if it still holds."""
    login.reported(False)
    assert (login.logged_in, login.problem, login.ready) == (False, NOT_LOGGED_IN, False)
    assert login.refusal() is None
    (tmp_path / ".credentials.json").write_text("{}")
    assert login.ready


def test_after_a_refusal_one_turn_tries_at_the_end_of_each_pause(login: LoginState, clock: Clock) -> None:
    tries = []
    login.refused("no")
    assert (login.logged_in, login.ready, login.refusal()) == (False, False, "no")
    for _ in range(600):
        clock.now += 0.5
        if login.refusal() is None:
            tries.append(clock.now)
            # The others are not let through while it is under way, or after it failed.
            assert login.refusal() == "no"
            login.refused("no")
            assert login.refusal() == "no" and not login.ready
    waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert tries[0] == 105.0 and waits[:3] == [10.0, 20.0, 30.0] and set(waits[3:]) == {30.0}


def test_it_is_ready_when_a_turn_would_be_let_through(login: LoginState, clock: Clock) -> None:
    login.refused("no")
    clock.now += 5
    assert login.ready
    assert login.refusal() is None
    assert not login.ready


def test_an_answer_ends_it(login: LoginState, clock: Clock) -> None:
    login.refused("no")
    login.accepted()
    assert (login.logged_in, login.problem, login.ready, login.refusal()) == (True, None, True, None)
    # The next time the first pause is short again.
    login.refused("no")
    clock.now += 5
    assert login.refusal() is None


def test_many_refusals_at_once_are_one(login: LoginState, clock: Clock) -> None:
    for _ in range(8):
        login.refused("no")
    clock.now += 5
    assert login.refusal() is None


def test_fresh_credentials_are_tried_at_once(login: LoginState, tmp_path: Path) -> None:
    file = tmp_path / ".credentials.json"
    file.write_text("{}")
    login.refused("no")
    assert login.refusal() == "no"
    file.write_text('{"fresh": true}')
    assert login.ready
    assert login.refusal() is None
    assert login.refusal() == "no"


def test_the_credentials_are_not_read(login: LoginState, tmp_path: Path) -> None:
    """Whoever opened this one would wait for ever."""
    login.refused("no")
    os.mkfifo(tmp_path / ".credentials.json")
    assert login.refusal() is None and login.refusal() == "no"
