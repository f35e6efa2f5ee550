"""What becomes of each chat parameter: honoured, ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.dialects.rules import Rule, always, among, empty, honoured, number


def _text_only(value: Any) -> bool:
    return isinstance(value, list) and value == ["text"]


def no_thinking(value: Any) -> bool:
    """Does a value of Anthropic's 'thinking' turn it off?"""
    return isinstance(value, Mapping) and value.get("type") == "disabled"


_NOT_TOLD = "the claude CLI has no way to tell the API"
_NO_SUCH = "Claude has no such setting"
_NO_LOGPROBS = "Claude gives no log probabilities"
_TEXT_ONLY = "only text answers are supported"
_OLD_TOOLS = "as 'tools', in its older form"
RULES: Mapping[str, Rule] = {
    "messages": honoured("all roles; text, images and PDFs as data URLs, tool calls and their results"),
    "model": honoured("any name of /v1/models, or a full model id"),
    "stream": honoured("server-sent events"),
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
    "metadata": honoured("comes back in the answer"),
    "user": honoured("logged as a hash"),
    "safety_identifier": honoured("logged as a hash"),
    "prompt_cache_key": honoured("logged as a hash; the cache needs none"),
    "prompt_cache_retention": honoured(
        "24h: the API caches for an hour, its longest time; in_memory: as usual, for minutes",
        among("24h", "in_memory", "in-memory"),
    ),
    "service_tier": honoured(
        "default: the API's standard_only; auto, priority: as usual, its auto; there is no other",
        among("auto", "default", "priority", "standard_only"),
    ),
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
    "temperature": Rule("ignore", "forwarded for the models of CLAUDE_SAMPLING_MODELS only", number(1)),
    "top_p": Rule("ignore", "forwarded for the models of CLAUDE_SAMPLING_MODELS only", number(1)),
    "presence_penalty": Rule("ignore", _NO_SUCH, number(0)),
    "frequency_penalty": Rule("ignore", _NO_SUCH, number(0)),
    "logit_bias": Rule("ignore", _NO_SUCH, empty),
    "seed": Rule("ignore", _NO_SUCH),
    "prediction": Rule("ignore", _NO_SUCH),
    "store": Rule("ignore", "answers are not kept", among(False)),
    "prompt_cache_options": Rule("ignore", _NOT_TOLD),
    "moderation": Rule("ignore", _NO_SUCH),
    "logprobs": Rule("refuse", _NO_LOGPROBS, among(False)),
    "top_logprobs": Rule("refuse", _NO_LOGPROBS, number(0)),
    "modalities": Rule("refuse", _TEXT_ONLY, _text_only),
    "audio": Rule("ignore", "says how audio sounds; it is 'modalities' that asks for it", always),
    "web_search_options": Rule("refuse", "the CLI's WebSearch (enable_tools) gives no citations"),
}
