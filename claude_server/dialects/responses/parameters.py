"""What becomes of each parameter of a response: honoured, ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.dialects.rules import Rule, among, empty, honoured, number

_NOT_TOLD = "the claude CLI has no way to tell the API"
_NO_SUCH = "Claude has no such setting"
_NO_LOGPROBS = "Claude gives no log probabilities"
_LOGPROBS = "message.output_text.logprobs"


def _without_logprobs(value: Any) -> bool:
    return isinstance(value, list) and _LOGPROBS not in value


RULES: Mapping[str, Rule] = {
    "input": honoured("text, or items of every kind; those that are not known become text, or are left out"),
    "model": honoured("any name of /v1/models, or a full model id"),
    "stream": honoured("server-sent events"),
    "instructions": honoured("the system prompt's beginning"),
    "max_output_tokens": honoured("as the API's limit"),
    "tools": honoured(
        "functions, namespaces of them, and custom tools; OpenAI's own tools are left out, and named in "
        "x-ignored-params"
    ),
    "tool_choice": honoured("none, auto, required, a named tool, allowed_tools"),
    "parallel_tool_calls": honoured("false: one call at most"),
    "reasoning": honoured("effort; thinking comes as summary, whatever summary says"),
    "text": honoured("format, and verbosity as a line in the system prompt"),
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
    "include": Rule("refuse", f"{_NO_LOGPROBS}; all else may be asked for", _without_logprobs),
    "temperature": Rule("ignore", "forwarded for the models of CLAUDE_SAMPLING_MODELS only", number(1)),
    "top_p": Rule("ignore", "forwarded for the models of CLAUDE_SAMPLING_MODELS only", number(1)),
    "store": honoured("true unless it is false: the response and its items are kept"),
    "previous_response_id": honoured("any response that is kept, more than once; only its items carry over"),
    "conversation": honoured("goes on with it, and adds to it"),
    "background": honoured("the answer is made also after the client has left"),
    "truncation": Rule("ignore", "a conversation is never cut here", among("disabled")),
    "stream_options": Rule("ignore", "nothing pads the stream here", empty),
    "prompt_cache_options": Rule("ignore", _NOT_TOLD),
    "max_tool_calls": Rule("ignore", "it is for tools that OpenAI runs"),
    "context_management": Rule("ignore", _NO_SUCH, empty),
    "image": Rule("ignore", _NO_SUCH),
    "moderation": Rule("ignore", _NO_SUCH),
    "access_programs": Rule("ignore", _NO_SUCH),
    "background_options": Rule("ignore", _NO_SUCH),
    "prompt": Rule("refuse", "there are no stored prompts here: send the text in 'instructions' and 'input'"),
    "top_logprobs": Rule("refuse", _NO_LOGPROBS, number(0)),
}
# Parts of 'reasoning' that have no effect, by their names in x-ignored-params.
REASONING_RULES: Mapping[str, Rule] = {
    "reasoning.context": Rule("ignore", _NO_SUCH),
    "reasoning.mode": Rule("ignore", _NO_SUCH),
}
