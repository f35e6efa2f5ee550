"""The caller of a request, as the guards identified it for the routes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

_CALLER = "claude_api_caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller: `id` is the key's, "" while no key is set; sessions and workers belong to it.

    `models` None: any. `details`: may it see more than whether the server is up? `operator`: may it change
    what others share?
    """

    id: str = ""
    models: frozenset[str] | None = None
    details: bool = True
    operator: bool = False


# While no key is set, every caller counts as the one user of this machine.
LOCAL_USER = Caller(operator=True)
UNAUTHENTICATED = Caller(details=False)


def set_caller(scope: Scope, caller: Caller) -> None:
    """Store the caller in the request's scope."""
    scope[_CALLER] = caller


def caller_of(scope: Scope) -> Caller:
    """The caller of the request; the local user if no guard has set one."""
    found = scope.get(_CALLER, LOCAL_USER)
    assert isinstance(found, Caller)
    return found
