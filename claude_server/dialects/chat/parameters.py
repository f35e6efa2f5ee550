"""What becomes of each chat parameter: honoured, ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.dialects.rules import Rule, always, among, honoured, number
from claude_server.dialects.shared_rules import (
    ABOUT_THE_REQUEST,
    MODEL_AND_STREAM,
    NO_LOGPROBS,
    NO_SUCH,
    NOT_TOLD,
    PENALTIES_AND_SEED,
    SAMPLING,
)


def _text_only(value: Any) -> bool:
    return isinstance(value, list) and value == ["text"]


def no_thinking(value: Any) -> bool:
    """Does a value of Anthropic's 'thinking' turn it off?"""
    return isinstance(value, Mapping) and value.get("type") == "disabled"


_TEXT_ONLY = "only text answers are supported"
_OLD_TOOLS = "as 'tools', in its older form"
RULES: Mapping[str, Rule] = {
    "messages": honoured("all roles; text, images and PDFs as data URLs, tool calls and their results"),
    **MODEL_AND_STREAM,
    "stream_options": honoured("include_usage; the rest has no effect"),
    "n": honoured("up to 8 answers, each a turn of its own"),
    "max_tokens": honoured("as the API's limit"),
    "max_completion_tokens": honoured("as the API's limit; goes before max_tokens"),
    "stop": honoured("up to four texts, by the API; blank ones by the server"),
    "reasoning_effort": honoured("none: no thinking; minimal is low; the others as they are"),
    "verbosity": honoured("a line in the system prompt"),
    "tools": honoured("as the API's tools"),
    "tool_choice": honoured("none, auto, required, a named tool, allowed_tools"),
    "parallel_tool_calls": honoured("false: one call at most"),
    "functions": honoured(_OLD_TOOLS),
    "function_call": honoured(_OLD_TOOLS),
    "response_format": honoured("json_schema by a tool that takes the answer, json_object by a request"),
    **ABOUT_THE_REQUEST,
    "system": honoured("Anthropic's: text of the prompt, before that of the messages"),
    "stop_sequences": honoured("Anthropic's: as 'stop', and beside it"),
    "thinking": honoured(
        "Anthropic's: of the type disabled there is none; how much there is otherwise is up to "
        "'reasoning_effort'",
        no_thinking,
    ),
    "session_id": honoured("ours: a conversation that the server keeps"),
    "enable_tools": honoured("ours: the CLI runs tools of its own, where CLAUDE_ALLOW_TOOLS allows it"),
    "stream_mode": honoured("ours: live or buffered"),
    **SAMPLING,
    **PENALTIES_AND_SEED,
    "prediction": Rule("ignore", NO_SUCH),
    "store": Rule("ignore", "answers are not kept", among(False)),
    "prompt_cache_options": Rule("ignore", NOT_TOLD),
    "moderation": Rule("ignore", NO_SUCH),
    "logprobs": Rule("refuse", NO_LOGPROBS, among(False)),
    "top_logprobs": Rule("refuse", NO_LOGPROBS, number(0)),
    "modalities": Rule("refuse", _TEXT_ONLY, _text_only),
    "audio": Rule("ignore", "says how audio sounds; it is 'modalities' that asks for it", always),
    "web_search_options": Rule("refuse", "the CLI's WebSearch (enable_tools) gives no citations"),
}
