"""What would become of a request: as the table says that decides it."""

from __future__ import annotations

from typing import Any

import pytest

from claude_server.core.errors import UnsupportedParameter
from claude_server.dialects.chat.parameters import RULES
from claude_server.dialects.chat.wire import ChatRequest
from claude_server.dialects.rules import ignored_parameters
from claude_server.http.admin.compatibility import Refusal, honoured, report

MESSAGES = [{"role": "user", "content": "hi"}]
# A value that asks for something, for each parameter; any will do where none is named.
ASKING: dict[str, Any] = {"temperature": 0.2, "top_p": 0.5, "store": True, "logprobs": True}


@pytest.mark.parametrize("name", RULES)
def test_each_parameter_is_reported_as_it_is_judged(name: str) -> None:
    value = ASKING.get(name, ["something"])
    found = report({"messages": MESSAGES, name: value}).compatibility_report
    try:
        ignored = ignored_parameters(RULES, {name: value})
    except UnsupportedParameter as error:
        assert name in found.unsupported_parameters
        assert error.message.rpartition(": ")[2] in found.warnings[0] and "400" in found.suggestions[0]
    else:
        assert (name in found.unsupported_parameters) == (name in ignored)
        assert (name in found.supported_parameters) == (name not in ignored)
        assert bool(found.warnings) == bool(found.suggestions) == bool(ignored)


def test_every_field_is_in_one_list() -> None:
    body = {"messages": MESSAGES, "model": "m", "seed": 1, "logprobs": True, "frobnicate": 2, "n": None}
    found = report(body).compatibility_report
    assert found.supported_parameters == ["messages", "model"]
    assert found.unsupported_parameters == ["seed", "logprobs", "frobnicate"]
    assert len(found.warnings) == 3 and "'frobnicate' is not known" in found.warnings[2]


def test_what_asks_for_nothing_is_supported() -> None:
    found = report({"messages": MESSAGES, "temperature": 1, "logprobs": False}).compatibility_report
    assert found.unsupported_parameters == found.warnings == found.suggestions == []


@pytest.mark.parametrize("body", [{}, {"messages": "hi"}])
def test_a_request_without_messages(body: dict[str, Any]) -> None:
    assert "'messages'" in report(body).compatibility_report.suggestions[-1]


def test_what_is_honoured() -> None:
    names = honoured()
    assert names == sorted(names)
    assert {"messages", "model", "stream", "session_id", "max_tokens"} <= set(names)
    assert not set(names) & {name for name, rule in RULES.items() if rule.answer == "refuse"}
    assert set(names) <= {*ChatRequest.model_fields, *RULES}
    options = report({}).claude_agent_sdk_options
    assert options.supported == names
    assert set(options.custom_headers) >= {"X-Claude-Max-Turns", "X-Claude-Max-Thinking-Tokens"}


@pytest.mark.parametrize(("value", "tools", "count"), [(True, True, 0), (True, False, 1), (False, False, 0)])
def test_tools_that_are_not_allowed(value: bool, tools: bool, count: int) -> None:
    refused = None if tools or not value else Refusal(403, "Ask the operator.", "enable_tools")
    found = report({"messages": MESSAGES, "enable_tools": value}, refused=refused).compatibility_report
    assert len(found.warnings) == len(found.suggestions) == count
    assert found.unsupported_parameters == ["enable_tools"] * count
