"""Signatures of thinking, which only this process can issue and verify.

As with the API, a client can't make one up, and one holds for the text that it was issued for and no other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

__all__ = ["data_is_ours", "fresh_data", "sign", "signature_is_ours"]

# For the whole process: a conversation goes on when a test exchanges one stand-in for another.
_KEY = secrets.token_bytes(32)
_NONCE_BYTES = 16


def sign(thinking: str) -> str:
    """The signature of a thinking block's text, base64."""
    return base64.b64encode(_mac(b"thinking", thinking.encode("utf-8", "replace"))).decode()


def signature_is_ours(thinking: str, signature: str) -> bool:
    """Was this signature issued for exactly this text?"""
    return hmac.compare_digest(sign(thinking).encode(), signature.encode("utf-8", "replace"))


def fresh_data() -> str:
    """The data of a redacted thinking block, base64; each is another."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return base64.b64encode(nonce + _mac(b"redacted", nonce)).decode()


def data_is_ours(data: str) -> bool:
    """Was this data of a redacted thinking block issued here?"""
    try:
        raw = base64.b64decode(data, validate=True)
    except ValueError:
        return False
    nonce, mac = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
    return hmac.compare_digest(_mac(b"redacted", nonce), mac)


def _mac(kind: bytes, data: bytes) -> bytes:
    return hmac.new(_KEY, kind + b"\0" + data, hashlib.sha256).digest()
