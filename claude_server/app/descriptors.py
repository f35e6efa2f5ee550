"""How many files, connections and processes' pipes this process may have open."""

from __future__ import annotations

import contextlib
import resource

# More than the limits of connections and processes can use; macOS takes no more than the last.
_ENOUGH = (65_536, 10_240)


def raise_limit() -> None:
    """Raise the soft limit of open files as far as the hard one, and our needs, go. It is 1,024 on many
    systems, 256 on some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in _ENOUGH:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft == resource.RLIM_INFINITY or most <= soft:
            return
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return
