"""Who asks: what the guards found out about a request, for the routes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

_CALLER = "claude_api_caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is the key's, "" while no key is set: what a session or a worker belongs to.

    `models` None: any. `details`: may it see more than whether the server is up? `operator`: may it change
    what others share?
    """

    id: str = ""
    models: frozenset[str] | None = None
    details: bool = True
    operator: bool = False


# While no key is set, everybody is the one user of this machine.
LOCAL_USER = Caller(operator=True)
UNAUTHENTICATED = Caller(details=False)


def set_caller(scope: Scope, caller: Caller) -> None:
    """Say who asks."""
    scope[_CALLER] = caller


def caller_of(scope: Scope) -> Caller:
    """Who asks."""
    found = scope.get(_CALLER, LOCAL_USER)
    assert isinstance(found, Caller)
    return found
