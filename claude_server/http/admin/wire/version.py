"""GET /version."""

from __future__ import annotations

from pydantic import BaseModel


class Version(BaseModel):
    version: str
    service: str
    api_version: str
