"""What turns have shown of the login and the account, and which turns are let through after a refusal.

One 401 says little: a token that was just renewed gets some while it spreads. So the door stays open and the
turn is tried again, after a short wait. Only a second 401, to a turn that began after that wait, closes it.
Then one turn at the end of each pause tries for all the others, which are refused here; and once the CLI's
file of credentials has changed all of them may try.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from claude_server.core.errors import (
    AccountProblem,
    LoginLost,
    LoginRefused,
    RateLimited,
    TurnError,
    UsageLimitReached,
)
from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.workers.worker import Backoff, monotonic

# Seconds. Each try is a request to the API, and the answer will be the same until somebody acts.
_INITIAL_BACKOFF = 5.0
# Seconds before a turn that got a 401 is tried again.
SECOND_TRY_AFTER = 1.0
# Seconds after which a 401 that nothing followed is forgotten.
_DOUBTED_FOR = 60.0
# Seconds that trouble with the account is shown at least, whatever succeeds meanwhile; a limit as brief as
# this is no trouble.
_SHOWN_FOR = 60.0


class LoginUse:
    """One attempt's use of the login. What it meets is told to the state, once.

    `refusal`: why the attempt needn't be made now; None: it is let through. `trial`: it tries for all others.
    """

    def __init__(
        self,
        state: LoginState,
        began: float,
        credentials: str,
        *,
        trial: bool = False,
        refusal: LoginLost | None = None,
    ) -> None:
        self._state = state
        self.began = began
        self.credentials = credentials
        self.trial = trial
        self.refusal = refusal
        self._told = refusal is not None

    @property
    def advice(self) -> LoginAdvice:
        return self._state.advice

    def answered(self) -> None:
        """The API answered, with whatever but a 401."""
        if not self._told:
            self._told = True
            self._state._answered(self)

    def failed(self, error: TurnError) -> TurnError:
        """The error as the client is to see it: whether a refusal is final is known here."""
        if not isinstance(error, LoginRefused | LoginLost):
            self._state._noted(error)
        elif not self._told:
            self._told = True
            return self._state._refused(self, error)
        return error

    def ended(self, *, complete: bool) -> None:
        """The attempt is over. If it has shown nothing, another one may try in its place."""
        if complete:
            self._state._succeeded()
        if not self._told:
            self._told = True
            self._state._lost(self)


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Trouble with the account, met at `since`, which ends by itself at `until`. Seconds of the clock."""

    message: str
    since: float
    until: float = math.inf


class LoginState:
    """`logged_in` None: nothing is known. `problem`: why no turn can succeed, and what to do. `advice`: what
    a person can do about this login.

    `before_trial` is called before a turn tries a login that was refused: processes may hold an old one.
    """

    def __init__(
        self,
        config_dir: Path,
        clock: Callable[[], float] = monotonic,
        before_trial: Callable[[], None] = lambda: None,
    ) -> None:
        self.logged_in: bool | None = None
        self.problem: str | None = None
        self.advice = LoginAdvice()
        self._file = config_dir / ".credentials.json"
        self._clock = clock
        self._before_trial = before_trial
        # The door is closed while it counts failures.
        self._backoff = Backoff(_INITIAL_BACKOFF)
        self._known = ""  # the credentials that were refused
        self._doubted: float | None = None  # when the first 401 came, or the door was closed
        self._trial: LoginUse | None = None
        self._trouble: _Trouble | None = None

    def reported(self, logged_in: bool | None, advice: LoginAdvice | None = None) -> None:
        """What the CLI says of it at its start, without having tried."""
        self.logged_in = logged_in
        self.advice = advice or LoginAdvice()
        self.problem = self.advice.not_logged_in() if logged_in is False else None
        self._known = self._credentials()
        self._open()

    @property
    def ready(self) -> bool:
        """Can a turn succeed, as far as anybody knows?"""
        if self.logged_in is not False or self._changed():
            return True
        return self._closed and self._trial is None and not self._pause()

    @property
    def trouble(self) -> str | None:
        """What turns have lately met of the account's plan, its billing and its limits."""
        if self._trouble is not None and self._trouble.until <= self._clock():
            self._trouble = None
        return self._trouble.message if self._trouble is not None else None

    def enter(self) -> LoginUse:
        """Ask to use the login for an attempt."""
        now, credentials = self._clock(), self._credentials()
        if self._closed and credentials != self._known:
            self.logged_in, self.problem = None, None
            self._open()
            self._before_trial()
        if not self._closed:
            return LoginUse(self, now, credentials)
        pause = self._pause()
        if pause or self._trial is not None:
            refusal = LoginLost(self.problem or "", retry_after=max(pause, SECOND_TRY_AFTER))
            return LoginUse(self, now, credentials, refusal=refusal)
        self._trial = LoginUse(self, now, credentials, trial=True)
        self._before_trial()
        return self._trial

    # Told by a LoginUse

    def _answered(self, use: LoginUse) -> None:
        # One that began before the refusal had logged in by then.
        if use.trial or self._doubted is None or use.began >= self._doubted:
            self.logged_in, self.problem = True, None
            self._open()

    def _succeeded(self) -> None:
        if self._trouble is not None and self._clock() - self._trouble.since >= _SHOWN_FOR:
            self._trouble = None

    def _refused(self, use: LoginUse, error: TurnError) -> TurnError:
        now = self._clock()
        if not use.trial and not self._closed and not self._is_final(use, error, now):
            return LoginRefused(error.message, retry_after=SECOND_TRY_AFTER)
        if use.trial or not self._closed:
            self._backoff.failed(now)
            self._trial = None
        self.logged_in, self.problem = False, error.message
        self._known = self._credentials()
        return LoginLost(error.message, retry_after=max(self._pause(), SECOND_TRY_AFTER))

    def _is_final(self, use: LoginUse, error: TurnError, now: float) -> bool:
        """Does this refusal, with the door open, close it? The CLI's own word does, unless another process
        has renewed the login meanwhile."""
        if self._doubted is not None and now - self._doubted > _DOUBTED_FOR:
            self._doubted = None
        if isinstance(error, LoginLost) and use.credentials == self._credentials():
            self._doubted = now
            return True
        if self._doubted is None:
            self._doubted = now
        # Timers may be a little early.
        return use.began >= self._doubted + 0.9 * SECOND_TRY_AFTER

    def _lost(self, use: LoginUse) -> None:
        if use is self._trial:
            self._trial = None

    def _noted(self, error: TurnError) -> None:
        now = self._clock()
        if isinstance(error, AccountProblem | UsageLimitReached):
            self._trouble = _Trouble(error.message, now)
        elif isinstance(error, RateLimited) and (error.retry_after or 0.0) > _SHOWN_FOR:
            self._trouble = _Trouble(error.message, now, now + (error.retry_after or 0.0))

    # The door

    @property
    def _closed(self) -> bool:
        return self._backoff.failures > 0

    def _open(self) -> None:
        self._backoff.reset()
        self._doubted = self._trial = None

    def _pause(self) -> float:
        return self._backoff.remaining(self._clock())

    def _changed(self) -> bool:
        return self._credentials() != self._known

    def _credentials(self) -> str:
        """Tells one content of the file from another. It isn't read. On macOS there is none."""
        return signature_of(str(self._file))
