"""API keys: how one is made, told apart and found. Decides only."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from hmac import compare_digest

from pydantic import BaseModel, ConfigDict, Field

# What a key of ours begins with. Some clients insist on "sk-"; the rest lets a scan for lost secrets find it.
PREFIX = "sk-capi-"
_BYTES = 32


class KeyLimits(BaseModel):
    """What a key may do; None: as much as the server can.

    `rate`: requests a minute. `concurrency`: requests at a time. `models`: names as clients send them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rate: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)
    models: tuple[str, ...] | None = Field(None, min_length=1, strict=False)


class Key(BaseModel):
    """A key as it is kept: never itself, only its SHA-256, which is enough for 256 random bits.

    `id` stands for the key wherever something belongs to it, and tells nothing of it. `created_at`: epoch
    seconds, None for a key from the settings. `operator`: it may change what others share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(pattern=r"^[a-z0-9_]{4,64}$")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    created_at: float | None = None
    limits: KeyLimits = KeyLimits()
    operator: bool = False


def new_token() -> str:
    """A key for a person to keep: 256 random bits behind the prefix."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def new_id() -> str:
    """An id for a new key."""
    return "key_" + secrets.token_hex(8)


def fingerprint(token: bytes) -> str:
    """What is kept of a key, as hex digits."""
    return hashlib.sha256(token).hexdigest()


def from_settings(name: str, token: str, *, operator: bool = False) -> Key:
    """A key that the operator chose. It has the same id at every start, so its sessions stay its own."""
    digest = fingerprint(token.encode())
    return Key(
        id="env_" + fingerprint(f"id of {digest}".encode())[:16], name=name, sha256=digest, operator=operator
    )


def find(keys: Iterable[Key], token: bytes) -> Key | None:
    """The key that `token` is. Takes the same time whichever it is, and whether it is one."""
    offered = fingerprint(token)
    found: Key | None = None
    for key in keys:
        if compare_digest(key.sha256, offered):
            found = key
    return found
