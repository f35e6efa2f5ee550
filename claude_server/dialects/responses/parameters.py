"""What becomes of each parameter of a response: honoured, ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.dialects.rules import Rule, among, empty, honoured, number
from claude_server.dialects.shared_rules import (
    ABOUT_THE_REQUEST,
    MODEL_AND_STREAM,
    NO_LOGPROBS,
    NO_SUCH,
    NOT_TOLD,
    SAMPLING,
)

_LOGPROBS = "message.output_text.logprobs"


def _without_logprobs(value: Any) -> bool:
    return isinstance(value, list) and _LOGPROBS not in value


RULES: Mapping[str, Rule] = {
    "input": honoured("text, or items of every kind; those that are not known become text, or are left out"),
    **MODEL_AND_STREAM,
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
    **ABOUT_THE_REQUEST,
    "include": Rule("refuse", f"{NO_LOGPROBS}; all else may be asked for", _without_logprobs),
    **SAMPLING,
    "store": honoured("true unless it is false: the response and its items are kept"),
    "previous_response_id": honoured("any response that is kept, more than once; only its items carry over"),
    "conversation": honoured("goes on with it, and adds to it"),
    "background": honoured("the answer is made also after the client has left"),
    "truncation": Rule("ignore", "a conversation is never cut here", among("disabled")),
    "stream_options": Rule("ignore", "nothing pads the stream here", empty),
    "prompt_cache_options": Rule("ignore", NOT_TOLD),
    "max_tool_calls": Rule("ignore", "it is for tools that OpenAI runs"),
    "context_management": Rule("ignore", NO_SUCH, empty),
    "image": Rule("ignore", NO_SUCH),
    "moderation": Rule("ignore", NO_SUCH),
    "access_programs": Rule("ignore", NO_SUCH),
    "background_options": Rule("ignore", NO_SUCH),
    "prompt": Rule("refuse", "there are no stored prompts here: send the text in 'instructions' and 'input'"),
    "top_logprobs": Rule("refuse", NO_LOGPROBS, number(0)),
}
# Parts of 'reasoning' that have no effect, by their names in x-ignored-params.
REASONING_RULES: Mapping[str, Rule] = {
    "reasoning.context": Rule("ignore", NO_SUCH),
    "reasoning.mode": Rule("ignore", NO_SUCH),
}
