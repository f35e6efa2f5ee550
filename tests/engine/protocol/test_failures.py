"""What a failed turn's last words mean. Texts are as the real CLIs 2.1.197 and 2.1.332 write them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from claude_server.core.errors import (
    AccountProblem,
    ApiUnreachable,
    CliFailed,
    InvalidRequest,
    LoginLost,
    LoginRefused,
    ModelNotFound,
    ModelNotPermitted,
    NotReady,
    Overloaded,
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    SessionLost,
    ThoughtsMissing,
    ThoughtsRefused,
    TurnError,
    UsageLimitReached,
)
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.failures import error_from_exit
from tests.engine.lines import assistant, failed, limit, result, start

NOW = 1_800_000_000.0
KEY = LoginAdvice("/opt/claude", "ANTHROPIC_API_KEY")
TOKEN = LoginAdvice("/opt/claude", "CLAUDE_CODE_OAUTH_TOKEN")
LOGIN = LoginAdvice("/opt/my claude", "claude.ai max", "/srv/config")


def failure_of(
    *frames: dict[str, Any], model: str | None = None, advice: LoginAdvice | None = None
) -> TurnError:
    translator = TurnTranslator(model=model, advice=advice, clock=lambda: NOW)
    with pytest.raises(TurnError) as raised:
        for frame in frames:
            translator.translate(frame)
    return raised.value


def told(kind: str, words: str) -> dict[str, Any]:
    """The CLI's message with an error's text."""
    return {**assistant(words, "<synthetic>"), "error": kind}


# Errors: each row of the facts' table


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "API Error: 400 bad", InvalidRequest),
        (
            *(400, "API Error: 400 messages.1.content.0: Invalid `signature` in `thinking` block"),
            ThoughtsRefused,
        ),
        (
            *(400, "API Error: 400 messages.13.content.2: Invalid `data` in `redacted_thinking` block"),
            ThoughtsRefused,
        ),
        (
            400,
            "API Error: 400 messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            "`tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking "
            "block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).",
            ThoughtsMissing,
        ),
        (400, "API Error: 400 tools: Invalid `signature` in `thinking` block", InvalidRequest),
        (404, "There's an issue with the selected model (x).", ModelNotFound),
        (413, "Request too large (max 32MB).", RequestTooLarge),
        (429, "API Error: Request rejected (429)", RateLimited),
        (429, "API Error: Server is temporarily limiting requests", RateLimited),
        (500, "API Error: 500", Overloaded),
        (529, "API Error: 529 overloaded", Overloaded),
        (None, "API Error: Unable to connect to API (ECONNRESET)", CliFailed),
        (400, "Prompt is too long", PromptTooLong),
        (None, "Prompt is too long", PromptTooLong),
        (None, "No conversation found with session ID: x", SessionLost),
    ],
)
def test_api_errors(status: int | None, words: str, kind: type[TurnError]) -> None:
    error = failure_of(failed(status, words))
    assert type(error) is kind
    assert words in error.message
    assert error.retry_after is None


@pytest.mark.parametrize(
    "said",
    [
        # 2.1.332, the first two as measured; then 2.1.197.
        "Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)",
        "Can't reach the API server — check your internet or DNS (ENOTFOUND)",
        "No internet route — check your connection or VPN (ENETUNREACH)",
        "Couldn't connect through your proxy (ERR_PROXY_TUNNEL) — the proxy refused the tunnel: check it",
        "Unable to connect to API: SSL certificate has expired",
        "Unable to connect to API (ConnectionRefused)",
        "Unable to connect to API (FailedToOpenSocket)",
    ],
)
def test_an_api_that_takes_no_connection(said: str) -> None:
    """The address is told without what may be a secret in it."""
    frame = failed(None, f"API Error: {said}")
    gateway = LoginAdvice("/opt/claude", base_url="http://me:SECRET@10.0.0.9:4000/SECRET?SECRET")
    for advice, where in (
        (gateway, "the API at http://10.0.0.9:4000 (ANTHROPIC_BASE_URL): "),
        (KEY, "the API: "),
    ):
        error = failure_of(frame, advice=advice)
        assert type(error) is ApiUnreachable
        assert error.message.startswith(f"The claude CLI can't reach {where}{said}. Look at the ")
        assert "SECRET" not in error.message


@pytest.mark.parametrize(
    "advice", ["", " Run --model to pick a different model.", " Run /model to pick a different model."]
)
def test_what_to_do_about_a_model_that_is_not_there(advice: str) -> None:
    error = failure_of(failed(404, f"It may not exist.{advice}"))
    assert error.message == "It may not exist. GET /v1/models lists names to choose from."


# The login


def test_what_to_do_about_a_missing_login() -> None:
    error = failure_of(failed(None, "Not logged in · Please run /login"), advice=LOGIN)
    assert (type(error), error.message) == (LoginLost, LOGIN.not_logged_in())
    assert "`CLAUDE_CONFIG_DIR=/srv/config '/opt/my claude' auth login`" in error.message
    assert "set ANTHROPIC_API_KEY to an API key" in error.message


def test_what_to_do_about_a_login_that_is_refused() -> None:
    error = failure_of(failed(401, "Invalid API key · Fix external API key"), advice=KEY)
    assert type(error) is LoginRefused
    assert error.message == (
        "Anthropic refused the key in ANTHROPIC_API_KEY: Invalid API key. Correct it, or unset it and log in "
        "with `/opt/claude auth login`; then start the server again."
    )
    words = "Failed to authenticate. API Error: 401 Invalid bearer token"
    error = failure_of(failed(401, words), advice=TOKEN)
    assert error.message.startswith("Anthropic refused the token in CLAUDE_CODE_OAUTH_TOKEN: Invalid bearer")
    assert "`/opt/claude setup-token`" in error.message and "API_KEY" not in error.message
    error = failure_of(failed(401, words), advice=LOGIN)
    assert error.message.startswith("Anthropic refused the login: Invalid bearer token. Log in anew with ")


REVOKED = "Failed to authenticate: OAuth token revoked. Please log in again or contact your administrator."
NO_ACCESS = "Your account does not have access to Claude. Please login again or contact your administrator."
EXPIRED = "Failed to authenticate: OAuth session expired and could not be refreshed"
CREDIT = "Failed to authenticate: your claude.ai login expired. Claude Code tried your saved Claude Console"
LOCKED = "Failed to refresh OAuth token: another Claude Code process is refreshing it or exited mid-refresh."
FULL = "Failed to refresh OAuth token: the disk that holds the Claude Code config directory is full."


@pytest.mark.parametrize(
    ("kind", "status", "words", "expected"),
    [
        # By the API: it may pass.
        ("authentication_failed", 401, "Invalid API key · Fix external API key", LoginRefused),
        ("", 401, "Failed to authenticate. API Error: 401 OAuth token has been revoked", LoginRefused),
        ("authentication_failed", 403, REVOKED, LoginRefused),
        ("authentication_failed", 403, NO_ACCESS, LoginRefused),
        ("unknown", None, "API Error: Invalid authentication credentials", LoginRefused),
        ("unknown", None, "API Error: OAuth token has expired", LoginRefused),
        ("authentication_failed", 401, "Not logged in · Please run /login", LoginRefused),
        # By the CLI, which knows.
        ("authentication_failed", None, "Invalid API key · Fix external API key", LoginLost),
        ("authentication_failed", None, EXPIRED, LoginLost),
        ("authentication_failed", None, "Words of a later version", LoginLost),
        ("", None, "OAuth session expired and could not be refreshed", LoginLost),
        ("", None, "OAuth token revoked · Please run /login", LoginLost),
        ("", None, "Login expired · Please run /login", LoginLost),
        ("", None, "Invalid API key", LoginLost),
        ("authentication_failed", 400, CREDIT, LoginLost),
        ("invalid_request", None, FULL, LoginLost),
        ("server_error", None, LOCKED, Overloaded),
    ],
)
def test_who_says_that_the_login_is_lost(
    kind: str, status: int | None, words: str, expected: type[TurnError]
) -> None:
    assert type(failure_of(told(kind, words), failed(status, words))) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("authentication_error", LoginRefused),
        ("billing_error", AccountProblem),
        ("permission_error", ModelNotPermitted),
        ("rate_limit_error", RateLimited),
        ("overloaded_error", Overloaded),
        ("api_error", Overloaded),
        ("invalid_request_error", InvalidRequest),
        ("not_found_error", ModelNotFound),
        ("request_too_large", RequestTooLarge),
        ("of_a_later_day", CliFailed),
    ],
)
def test_an_error_in_a_stream_has_a_type_in_place_of_a_status(kind: str, expected: type[TurnError]) -> None:
    assert type(failure_of(failed(None, "API Error: x", api_error_type=kind))) is expected


def test_a_model_that_is_not_permitted() -> None:
    words = "Failed to authenticate. API Error: 403 Your key may not use this resource."
    error = failure_of(told("authentication_failed", words), failed(403, words), model="opus")
    assert (type(error), error.param) == (ModelNotPermitted, "model")
    assert error.message.startswith(
        "This login or API key may not use the model 'opus': Your key may not use this resource. Name another"
    )
    assert "the default model" in failure_of(failed(403, words)).message
    words = "Claude Opus is not available with the Claude Pro plan. If you have updated your plan, run /login"
    assert type(failure_of(told("invalid_request", words), failed(400, words))) is ModelNotPermitted


# The account


LONG = "Usage credits required for 1M context · turn on usage credits at https://claude.ai/settings/usage"
ORGANIZATION = "Your organization has disabled Claude subscription access for Claude Code · Use an API key"
PAST_DUE = "Claude Code can't use your Claude subscription, usually because a payment is past due"
KEY_DISABLED = "Your organization has disabled API key authentication · Unset ANTHROPIC_API_KEY"
DISABLED = "Your ANTHROPIC_API_KEY belongs to a disabled organization · Update or unset the variable"


@pytest.mark.parametrize(
    ("kind", "status", "words", "advice"),
    [
        (
            *("rate_limit", 429),
            "API Error: Request rejected (429) · Extra usage is required for long context requests.",
            "'[1m]'",
        ),
        ("rate_limit", 429, f"API Error: {LONG}", "'[1m]'"),
        ("unknown", 400, "API Error: 400 You're out of extra usage. Add more.", "settings/usage"),
        ("", None, "You're out of extra usage · resets 3pm", "settings/usage"),
        ("unknown", 400, "API Error: 400 Third-party apps now draw from extra usage.", "settings/usage"),
        ("rate_limit", 429, "Your seat type doesn't include usage credits", "settings/usage"),
        (
            "rate_limit",
            429,
            "You've hit your monthly spend limit. Switch to another model.",
            "settings/usage",
        ),
        ("rate_limit", 429, "Fable 5 requires usage credits. Switch to another model.", "settings/usage"),
        ("billing_error", 400, "Credit balance is too low", "platform.claude.com/settings/billing"),
        ("billing_error", 402, "Credit balance is too low", "platform.claude.com/settings/billing"),
        ("unknown", None, "API Error: Your credit balance is too low to access it.", "settings/billing"),
        ("unknown", 402, "API Error: 402 Words of a later day", "platform.claude.com"),
        ("unknown", 400, "API Error: 400 This organization has been disabled.", "admin"),
        ("invalid_request", 400, DISABLED, "admin"),
        ("invalid_request", 403, KEY_DISABLED, "admin"),
        ("oauth_org_not_allowed", 403, ORGANIZATION, "admin"),
        ("oauth_org_not_allowed", 403, PAST_DUE, "admin"),
        ("oauth_org_not_allowed", 403, "Words of a later version", "platform.claude.com"),
        ("account_on_hold", None, "Your account is on hold", "claude.ai"),
        ("verification_required", 403, "Verify yourself", "platform.claude.com"),
    ],
)
def test_trouble_with_the_account(kind: str, status: int | None, words: str, advice: str) -> None:
    """Told as what it is, in the API's own sentence, with what its owner can do."""
    error = failure_of(told(kind, words), failed(status, words), advice=KEY)
    assert type(error) is AccountProblem
    told_words = re.sub(r"^API Error: (\d+ |Request rejected \(429\) · )?", "", words).rstrip(".")
    assert error.message.startswith(told_words + ". ")
    assert advice in error.message.removeprefix(told_words)
    assert not error.retryable


@pytest.mark.parametrize(
    "words",
    [
        "messages.0.content: Credit balance is too low",
        "tools.0.name: 'This organization has been disabled.'",
        "stop_sequences: You've hit your limit · resets 1am",
    ],
)
def test_a_clients_words_in_an_error_are_no_trouble_with_the_account(words: str) -> None:
    assert type(failure_of(failed(400, f"API Error: 400 {words}"))) is InvalidRequest


# Limits


def test_which_parameter_is_at_fault() -> None:
    assert failure_of(failed(404, "no model")).param == "model"
    assert failure_of(failed(400, "x", terminal_reason="prompt_too_long")).param == "messages"


def test_a_limit_names_its_reset() -> None:
    error = failure_of(
        limit(status="rejected", resetsAt=NOW + 90.5, rateLimitType="five_hour"),
        failed(429, "You've hit your session limit"),
    )
    assert type(error) is RateLimited
    assert error.retry_after == 90.5
    assert error.message == "You've hit your session limit (the limit resets at 2027-01-15 08:01:30 UTC)"


def test_a_limit_whose_reset_has_passed() -> None:
    error = failure_of(limit(status="rejected", resetsAt=NOW - 5), failed(429, "x"))
    assert error.retry_after == 0


def test_a_rejection_counts_without_a_status() -> None:
    error = failure_of(limit(status="rejected", resetsAt=NOW + 1), failed(None, "You've hit your limit"))
    assert (type(error), error.retry_after) == (RateLimited, 1)


@pytest.mark.parametrize(
    ("status", "words", "seconds"),
    [
        # It is 08:00.
        (None, "You've hit your limit · resets 9am (UTC)", 3600),
        (429, "You've hit your session limit · resets 9:30am (UTC)", 5400),
        (
            400,
            "API Error: 400 You have reached your specified API usage limits. You will regain access on "
            "2027-01-16 at 08:00 UTC.",
            86_400,
        ),
        (None, "Claude AI usage limit reached|1800000060", 60),
    ],
)
def test_a_limit_whose_reset_is_told_in_its_text_only(status: int | None, words: str, seconds: float) -> None:
    error = failure_of(failed(status, words))
    assert (type(error), error.retry_after) == (RateLimited, seconds)
    assert "(the limit resets at 2027-01-1" in error.message


@pytest.mark.parametrize("status", [None, 429])
def test_a_used_up_limit_without_a_time_is_not_tried_again(status: int | None) -> None:
    error = failure_of(failed(status, "You've hit your weekly limit"))
    assert (type(error), error.retryable, error.retry_after) == (UsageLimitReached, False, None)


def test_the_limit_of_a_plan_that_has_no_extra_usage_left_passes() -> None:
    told_limit = limit(status="rejected", resetsAt=NOW + 90)
    error = failure_of(told_limit, failed(429, "You're out of extra usage · resets 3pm"))
    assert (type(error), error.retry_after) == (RateLimited, 90)


@pytest.mark.parametrize("resets_at", [None, "soon"])
def test_a_limit_without_a_time(resets_at: object) -> None:
    error = failure_of(limit(status="rejected", resetsAt=resets_at), failed(429, "x"))
    assert (error.message, error.retry_after) == ("x", None)


def test_the_last_limit_that_was_told_holds() -> None:
    # Older CLIs have the fields on the event itself.
    bare = {"type": "rate_limit_event", "status": "rejected", "resetsAt": NOW + 7}
    error = failure_of(limit(status="allowed", resetsAt=NOW + 9999), bare, failed(429, "x"))
    assert error.retry_after == 7


def test_a_limit_that_is_not_reached_is_not_the_reason() -> None:
    # Each turn of a subscription tells when its five hours end; a brief 429 has nothing to do with that.
    error = failure_of(limit(status="allowed", resetsAt=NOW + 9999), failed(429, "limiting requests"))
    assert (type(error), error.message, error.retry_after) == (RateLimited, "limiting requests", None)


def test_an_allowed_limit_changes_no_other_error() -> None:
    assert type(failure_of(limit(status="allowed"), failed(529, "x"))) is Overloaded
    assert type(failure_of(limit(status="allowed"), failed(None, "x"))) is CliFailed


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (result(subtype="error_during_execution", errors=["one", "two"]), "one; two"),
        (result(subtype="error_max_turns"), "no reason given"),
        (result(subtype="error_during_execution", is_error=True, result="cut"), "cut"),
    ],
)
def test_other_bad_ends(frame: dict[str, Any], message: str) -> None:
    error = failure_of(start(), frame)
    assert (type(error), error.message) == (CliFailed, message)


def test_a_lost_session_in_the_errors_of_a_result() -> None:
    frame = result(
        subtype="error_during_execution",
        is_error=True,
        errors=["No conversation found with session ID: 1"],
    )
    assert type(failure_of(frame)) is SessionLost


# A process that ended too early


@pytest.mark.parametrize(
    ("code", "stderr", "kind", "message"),
    [
        (
            1,
            "warning\n  No conversation found with session ID: x  \n",
            SessionLost,
            "No conversation found with session ID: x",
        ),
        (
            1,
            "error: unknown option '--effort'\n",
            NotReady,
            "The claude CLI is too old for this server: error: unknown option '--effort' Update it.",
        ),
        (1, "Not logged in\n", LoginLost, LOGIN.not_logged_in()),
        (1, "Invalid API key {x}", LoginLost, LOGIN.refused("Invalid API key {x}")),
        (0, "", CliFailed, "The claude CLI ended with status 0 before the turn was complete."),
        (
            1,
            "first\nlast words \n\n",
            CliFailed,
            "The claude CLI ended with status 1 before the turn was complete. It said: last words",
        ),
        (-9, "", CliFailed, "The claude CLI was killed by signal 9 before the turn was complete."),
    ],
)
def test_exits(code: int, stderr: str, kind: type[TurnError], message: str) -> None:
    error = error_from_exit(code, stderr, LOGIN)
    assert (type(error), error.message) == (kind, message)


def test_an_exit_whose_status_is_not_known() -> None:
    assert re.search(r"before the turn was complete\.$", error_from_exit(None, "").message)


def test_last_words_are_cut() -> None:
    assert error_from_exit(1, "x" * 1000).message.endswith("It said: " + "x" * 300)
