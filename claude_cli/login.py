"""What turns have shown of the login, and who may try it again after it was refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from claude_cli.binary_cache import signature_of
from claude_cli.events import NOT_LOGGED_IN
from claude_cli.worker import Backoff, monotonic

# Seconds. Each try is a request to the API, and the answer will be the same until somebody acts.
_INITIAL_BACKOFF = 5.0


class LoginState:
    """`logged_in` None: nothing is known. `problem`: why no turn can succeed, and what to do.

    After a refusal turns are refused here, without asking again: but for one at the end of each pause, and at
    once when the CLI's file of credentials has changed.
    """

    def __init__(self, config_dir: Path, clock: Callable[[], float] = monotonic) -> None:
        self.logged_in: bool | None = None
        self.problem: str | None = None
        self._file = config_dir / ".credentials.json"
        self._clock = clock
        self._backoff = Backoff(_INITIAL_BACKOFF)
        self._refused = ""

    def reported(self, logged_in: bool | None) -> None:
        """What the CLI says of it at its start, without having tried."""
        self.logged_in = logged_in
        self.problem = NOT_LOGGED_IN if logged_in is False else None
        self._refused = self._credentials()
        self._backoff.reset()

    def accepted(self) -> None:
        """A turn was answered."""
        self.logged_in, self.problem = True, None
        self._backoff.reset()

    def refused(self, problem: str) -> None:
        """A turn was refused for its login."""
        self.logged_in, self.problem = False, problem
        self._refused = self._credentials()
        if not self._backoff.remaining(self._clock()):
            self._backoff.failed(self._clock())

    @property
    def ready(self) -> bool:
        """Can a turn succeed, as far as anybody knows?"""
        waits = not self._backoff.failures or self._backoff.remaining(self._clock()) > 0
        return self.logged_in is not False or not waits or self._changed()

    def refusal(self) -> str | None:
        """Why a turn needn't be tried now, or None. Who is let through while others wait tries for all."""
        if self.logged_in is not False or not self._backoff.failures:
            return None
        if self._backoff.remaining(self._clock()) and not self._changed():
            return self.problem
        self._refused = self._credentials()
        self._backoff.failed(self._clock())
        return None

    def _changed(self) -> bool:
        return self._credentials() != self._refused

    def _credentials(self) -> str:
        """Tells one content of the file from another. It isn't read. On macOS there is none."""
        return signature_of(str(self._file))
