"""GET /v1/auth/status. Names of variables only, never what is in them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class LoginConfig(BaseModel):
    """`chosen_by`: the setting or variable that decided, null if nothing did. `login`: the CLI's own word for
    what it uses; null if it doesn't tell."""

    chosen_by: str | None
    login: str | None
    cli_version: str | None


class LoginStatus(BaseModel):
    """`valid`: nothing speaks against a turn that is asked now. `errors`: what does, a sentence each."""

    method: str
    valid: bool
    errors: list[str]
    config: LoginConfig


class ClaudeAuth(BaseModel):
    """`environment_variables`: those that the CLI gets and that have to do with its login."""

    method: str
    status: LoginStatus
    environment_variables: list[str]


class ServerInfo(BaseModel):
    """`api_key_source`: the settings, or keys that were made at run time."""

    api_key_required: bool
    api_key_source: Literal["environment", "runtime", "none"]
    version: str


class PublicServerInfo(BaseModel):
    """What a request without a key is told."""

    api_key_required: Literal[True] = True


class PublicAuthStatus(BaseModel):
    """The answer where a key is needed and none was sent."""

    server_info: PublicServerInfo = PublicServerInfo()


class AuthStatus(BaseModel):
    claude_code_auth: ClaudeAuth
    server_info: ServerInfo
