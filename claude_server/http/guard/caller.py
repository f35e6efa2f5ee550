"""The caller of a request, as the guards identified it for the routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


def is_known(scope: Mapping[str, Any]) -> bool:
    """Did a guard let the request in with a key, or without one where none is needed?"""
    found = scope.get(_CALLER)
    return isinstance(found, Caller) and found.details


def caller_of(scope: Scope) -> Caller:
    """The caller of the request; the local user if no guard has set one."""
    found = scope.get(_CALLER, LOCAL_USER)
    assert isinstance(found, Caller)
    return found
