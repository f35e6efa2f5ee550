"""What the Messages API refuses with a 400: the rules that a client which builds histories can break.

Only rules that Anthropic documents or that its error messages are widely known for. A message with the
role "system" is let through after the first message: newer CLIs send it (beta per-turn-control).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from claude_server.standin.images import image_error
from claude_server.standin.signatures import data_is_ours, signature_is_ours

__all__ = ["validation_error"]

_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_FORCING = ("any", "tool")
_MIN_BUDGET = 1024
_COMBINATORS = frozenset({"oneOf", "allOf", "anyOf"})


def validation_error(body: Mapping[str, Any]) -> str | None:
    """The message of the 400 that the API would answer, or None for a good request."""
    for rule in (_fields, _tools, _thinking, _system, _texts, _tool_pairs, _thoughts, _images):
        for found in rule(body):
            return found
    return None


def _fields(body: Mapping[str, Any]) -> Iterator[str]:
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            yield f"{name}: Field required"
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        yield "max_tokens: Input should be greater than or equal to 1"
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        yield "messages: at least one message is required"
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), (str, list)):
            yield f"messages.{number}.content: Input should be a valid list"
        allowed = ("user", "assistant", "system") if number else ("user", "assistant")
        if message.get("role") not in allowed:
            yield f"messages.{number}.role: Input should be 'user' or 'assistant'"
    if messages[0]["role"] != "user":
        yield 'messages: first message must use the "user" role'


def _tools(body: Mapping[str, Any]) -> Iterator[str]:
    tools = body.get("tools") or []
    names = [str(tool.get("name", "")) for tool in tools]
    for number, name in enumerate(names):
        if not _TOOL_NAME.fullmatch(name):
            yield f"tools.{number}.custom.name: String should match pattern '^{_TOOL_NAME.pattern}$'"
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    for number, tool in enumerate(tools):
        keys = (tool.get("input_schema") or {}).get("properties") or ()
        if not all(map(_PROPERTY.fullmatch, keys)):
            where = f"tools.{number}.custom.input_schema.properties"
            yield f"{where}: Property keys should match pattern '^{_PROPERTY.pattern}$'"
        if not _COMBINATORS.isdisjoint(tool.get("input_schema") or ()):
            yield (
                f"tools.{number}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf"
                " at the top level"
            )
    choice = body.get("tool_choice")
    if choice and not tools:
        yield "tool_choice: tool_choice may only be specified while providing tools"
    if choice and choice.get("type") == "tool" and choice.get("name") not in names:
        yield f"tool_choice: Tool '{choice.get('name')}' not found in provided tools"


def _thinking(body: Mapping[str, Any]) -> Iterator[str]:
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= 1:
        yield "temperature: range: 0..1"
    thinking = body.get("thinking") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens", 0)
        if budget < _MIN_BUDGET:
            yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_MIN_BUDGET}"
        if budget >= body["max_tokens"]:
            yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    if temperature not in (None, 1):
        yield "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."
    if "top_k" in body:
        yield "`top_k` must be unset when thinking is enabled or in adaptive mode."
    if (body.get("tool_choice") or {}).get("type") in _FORCING:
        yield "Thinking may not be enabled when tool_choice forces tool use."


def _system(body: Mapping[str, Any]) -> Iterator[str]:
    system = body.get("system")
    for block in system if isinstance(system, list) else ():
        if not block.get("text"):
            yield "system: text content blocks must be non-empty"


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    messages = body["messages"]
    last = len(messages) - 1
    for number, message in enumerate(messages):
        final_answer = number == last and message["role"] == "assistant"
        if not message["content"] and not final_answer:
            yield (
                f"messages.{number}: all messages must have non-empty content"
                " except for the optional final assistant message"
            )
        texts = [block for block in _blocks(message) if block.get("type") == "text"]
        for block in texts:
            text = str(block.get("text", ""))
            if not text and "cache_control" in block:
                yield f"messages.{number}: cache_control cannot be set for empty text blocks"
            if not text:
                yield "messages: text content blocks must be non-empty"
            if not text.strip():
                yield "messages: text content blocks must contain non-whitespace text"
        if final_answer and texts and texts[-1]["text"] != texts[-1]["text"].rstrip():
            yield "messages: final assistant content cannot end with trailing whitespace"


def _tool_pairs(body: Mapping[str, Any]) -> Iterator[str]:
    """Every tool_use is answered in the next message, and nothing else is."""
    talk = [(i, m) for i, m in enumerate(body["messages"]) if m["role"] != "system"]
    runs = _merged(talk)
    seen: set[str] = set()
    for at, (number, role, blocks) in enumerate(runs):
        calls = (
            [str(b.get("id")) for b in blocks if b.get("type") == "tool_use"] if role == "assistant" else []
        )
        if seen & set(calls) or len(set(calls)) < len(calls):
            yield "messages: `tool_use` ids must be unique"
        seen.update(calls)
        results = _results(runs[at + 1][2]) if at + 1 < len(runs) else []
        missing = [call for call in calls if call not in results]
        if missing:
            yield (
                f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately"
                f" after: {', '.join(missing)}. Each `tool_use` block must have a corresponding"
                " `tool_result` block in the next message."
            )
        before = [str(b.get("id")) for b in runs[at - 1][2] if b.get("type") == "tool_use"] if at else []
        strange = [result for result in _results(blocks) if result not in before] if role == "user" else []
        if strange:
            yield (
                f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks:"
                f" {', '.join(strange)}. Each `tool_result` block must have a corresponding `tool_use`"
                " block in the previous message."
            )


def _merged(talk: list[tuple[int, Any]]) -> list[tuple[int, str, list[Mapping[str, Any]]]]:
    """(number of the last message, role, blocks) a run: the API joins messages of one role."""
    runs: list[tuple[int, str, list[Mapping[str, Any]]]] = []
    for number, message in talk:
        if runs and runs[-1][1] == message["role"]:
            before = runs[-1][2]
            before.extend(_blocks(message))
            runs[-1] = (number, message["role"], before)
        else:
            runs.append((number, message["role"], _blocks(message)))
    return runs


def _thoughts(body: Mapping[str, Any]) -> Iterator[str]:
    """Thinking comes back as it was given, and stands before the calls of a turn that goes on thinking."""
    for place, block in _all_blocks(body):
        kind = block.get("type")
        if kind == "thinking" and not signature_is_ours(
            str(block.get("thinking", "")), str(block.get("signature", ""))
        ):
            yield f"{place}: Invalid `signature` in `thinking` block"
        if kind == "redacted_thinking" and not data_is_ours(str(block.get("data", ""))):
            yield f"{place}: Invalid `data` in `redacted_thinking` block"
    if (body.get("thinking") or {}).get("type") == "enabled":
        yield from _calls_without_thinking(body)


def _calls_without_thinking(body: Mapping[str, Any]) -> Iterator[str]:
    """With a budget, the last answer of a turn that goes on may not call anything without a thought."""
    runs = _merged([(i, m) for i, m in enumerate(body["messages"]) if m["role"] != "system"])
    for number, role, blocks in reversed(runs):
        kinds = [str(block.get("type")) for block in blocks]
        if role == "user" and "tool_result" not in kinds:
            return
        if role == "assistant":
            if "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
                yield (
                    f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`, but found"
                    f" `{kinds[0]}`. When `thinking` is enabled, a final `assistant` message must start with"
                    " a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
                    " To avoid this requirement, disable `thinking`."
                )
            return


def _images(body: Mapping[str, Any]) -> Iterator[str]:
    for place, block in _all_blocks(body):
        if block.get("type") == "image":
            found = image_error(block["source"])
            if found is not None:
                yield f"{place}.image.source.base64: {found}"


def _all_blocks(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, block) for each block of the messages, and for those inside a tool's result."""
    for number, message in enumerate(body["messages"]):
        for index, block in enumerate(_blocks(message)):
            place = f"messages.{number}.content.{index}"
            yield place, block
            inner = block.get("content") if block.get("type") == "tool_result" else None
            for at, part in enumerate(inner if isinstance(inner, list) else ()):
                yield f"{place}.tool_result.content.{at}", part


def _results(blocks: list[Mapping[str, Any]]) -> list[str]:
    return [str(b.get("tool_use_id")) for b in blocks if b.get("type") == "tool_result"]


def _blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message["content"]
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)
