"""What a person can do about a login, an account or an address that doesn't serve. Sentences only."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

_USAGE = "claude.ai/settings/usage"
_BY_KEY = "set ANTHROPIC_API_KEY to an API key"
# Sentences of the API and the CLI about the account, by how they begin, and what its owner can do.
_ACCOUNT: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(Extra usage is|Usage credits( are)?) required for (long context|1M context)"),
        f"The account's owner can turn on extra usage (usage credits) at {_USAGE}; or name a model without "
        "'[1m]', whose context window is the usual one.",
    ),
    (
        re.compile(
            r"Third-party apps|You're out of (extra usage|usage credits)|Your org is out of usage|"
            r"Your seat type|Your usage allocation|Your group's usage limit|This service is disabled for|"
            r"You've hit your (channel's )?monthly spend limit|[\w. ()]{1,60} requires usage credits"
        ),
        "The account's owner, or an admin of its organization, can add extra usage (usage credits) at "
        f"{_USAGE}; or {_BY_KEY}, which is billed by itself, and start the server again.",
    ),
    (
        re.compile(r"(Your )?credit balance is too low", re.IGNORECASE),
        "Add credit at platform.claude.com/settings/billing.",
    ),
    (
        re.compile(
            r"(This |Your )?organization has been disabled|Your ANTHROPIC_API_KEY belongs to a disabled|"
            r"Your organization has disabled|API key authentication is disabled|OAuth authentication is|"
            r"Claude Code can't use your|.{0,60} is not enabled for (this|your) organization"
        ),
        "An admin of the organization can change that; or log in another way (a login of the CLI or "
        "ANTHROPIC_API_KEY, of another organization if need be), and start the server again.",
    ),
    (
        re.compile(r"(Your|This) account (is|has been) (on hold|disabled|restricted)|.{0,80}consumer terms"),
        "The account's owner can sign in at claude.ai, and do what is asked for there.",
    ),
)


def account_advice(sentence: str) -> str | None:
    """What to do about trouble with the account; None if the sentence isn't about that."""
    return next((advice for pattern, advice in _ACCOUNT if pattern.match(sentence)), None)


@dataclass(frozen=True, slots=True)
class LoginAdvice:
    """`binary`: the CLI's path. `source`: the credential in use, as the CLI names it; None: not known.
    `config_dir`: CLAUDE_CONFIG_DIR, "" if it isn't set. `base_url`: ANTHROPIC_BASE_URL, likewise."""

    binary: str = "claude"
    source: str | None = None
    config_dir: str = ""
    base_url: str = ""

    def command(self, *words: str) -> str:
        """A command of the CLI as a person can paste it into a shell."""
        setting = [f"CLAUDE_CONFIG_DIR={shlex.quote(self.config_dir)}"] if self.config_dir else []
        return "`" + " ".join([*setting, shlex.quote(self.binary), *words]) + "`"

    def not_logged_in(self) -> str:
        return (
            f"The claude CLI is not logged in. Run {self.command('auth', 'login')} as the user that runs "
            "this server, and the next request will find the login; or "
            f"{_BY_KEY} and start the server again."
        )

    def refused(self, said: str) -> str:
        """What to do about a credential that isn't taken. `said`: in whose words."""
        login = self.command("auth", "login")
        if self.source == "CLAUDE_CODE_OAUTH_TOKEN":
            what = "the token in CLAUDE_CODE_OAUTH_TOKEN"
            todo = (
                f"Make a new one with {self.command('setup-token')}, or unset it and log in with {login}; "
                "then start the server again."
            )
        elif self.source in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
            what = f"the key in {self.source}"
            todo = f"Correct it, or unset it and log in with {login}; then start the server again."
        else:
            what = "the login"
            todo = (
                f"Log in anew with {login} as the user that runs this server, and the next request will find "
                f"the login; or {_BY_KEY} and start the server again."
            )
        return f"Anthropic refused {what}: {said.rstrip('.')}. {todo}"

    def unreachable(self, said: str) -> str:
        """What to do about an API that takes no connection. `said`: in the CLI's words."""
        # No more of the URL: a key may be in it.
        url = urlsplit(self.base_url)
        where, check = "", ""
        if self.base_url:
            where = f" at {url.scheme}://{url.netloc.rpartition('@')[2]} (ANTHROPIC_BASE_URL)"
            check = "the address, "
        return (
            f"The claude CLI can't reach the API{where}: {said.rstrip('.')}. Look at {check}the network and "
            "the proxy of the machine that this server runs on."
        )

    def account(self) -> str:
        """What to do about an account where nothing better is known."""
        where = "platform.claude.com" if self.source == "ANTHROPIC_API_KEY" else "claude.ai"
        return f"The account's owner can look at its plan and billing in the settings at {where}."
