"""Prompt caching by value: one token is four characters, so all texts here have multiples of four."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from claude_server.standin.caching import CacheControlError, PromptCache, Usage, count_tokens, estimate_tokens

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def text(content: str, mark: dict[str, str] | None = None) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": content}
    return {**block, "cache_control": mark} if mark else block


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **fields}


def run(cache: PromptCache, request: dict[str, Any], now: float = 0.0) -> Usage:
    """A request whose answer begins at once."""
    lookup = cache.look_up(request, now)
    cache.store(lookup, now)
    return lookup.usage


def counts(usage: Usage) -> tuple[int, int, int]:
    return usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens


@pytest.mark.parametrize(("chars", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (400, 100)])
def test_a_token_is_four_characters(chars: int, tokens: int) -> None:
    assert estimate_tokens(chars) == tokens


def test_without_marks_nothing_is_cached() -> None:
    cache = PromptCache()
    request = body(user(text("a" * 40)))
    assert [counts(run(cache, request)), counts(run(cache, request))] == [(10, 0, 0), (10, 0, 0)]
    assert len(cache) == 0


def test_an_empty_request_has_no_usage() -> None:
    assert run(PromptCache(), {}) == Usage()


def test_a_marked_prompt_is_written_and_then_read() -> None:
    cache = PromptCache()
    request = body(user(text("a" * 40, MARK), text("b" * 8)))
    assert counts(run(cache, request)) == (2, 10, 0)
    assert counts(run(cache, request)) == (2, 0, 10)


def test_the_next_turn_reads_the_last_one() -> None:
    cache = PromptCache()
    run(cache, body(user(text("a" * 40, MARK))))
    second = body(user(text("a" * 40)), assistant(text("b" * 8)), user(text("c" * 4, MARK)))
    assert counts(run(cache, second)) == (0, 3, 10)


def test_a_string_is_the_same_as_one_text_block() -> None:
    cache = PromptCache()
    run(cache, body(user(text("a" * 40, MARK)), system=[text("s" * 4)]))
    second = {"model": "m", "system": "ssss", "messages": [{"role": "user", "content": "a" * 40}]}
    assert counts(run(cache, {**second, "cache_control": MARK})) == (0, 0, 11)


def test_the_request_itself_can_carry_the_mark() -> None:
    cache = PromptCache()
    request = body(user(text("a" * 40)), assistant(text("b" * 4)), cache_control=MARK)
    assert counts(run(cache, request)) == (0, 11, 0)
    assert counts(run(cache, request)) == (0, 0, 11)


def test_the_order_is_tools_system_messages() -> None:
    cache = PromptCache()
    tool = {"name": "t", "input_schema": {}}
    first = body(user(text("a" * 4)), tools=[tool], system=[text("s" * 40, MARK)])
    written = run(cache, first).cache_creation_input_tokens
    assert written > 10
    other_question = body(user(text("b" * 4)), tools=[tool], system=[text("s" * 40, MARK)])
    assert counts(run(cache, other_question)) == (1, 0, written)
    other_tool = body(user(text("a" * 4)), tools=[{**tool, "name": "u"}], system=[text("s" * 40, MARK)])
    assert counts(run(cache, other_tool)) == (1, written, 0)


def test_what_stands_before_a_mark_counts() -> None:
    cache = PromptCache()
    run(cache, body(user(text("a" * 40, MARK))))
    assert counts(run(cache, body(user(text("b" * 40, MARK))))) == (0, 10, 0)
    moved = body(user(text("a" * 20), text("a" * 20, MARK)))
    assert counts(run(cache, moved)) == (0, 10, 0)


def test_the_role_and_what_stands_beside_the_content_count() -> None:
    cache = PromptCache()
    run(cache, body(user(text("a" * 40, MARK))))
    assert run(cache, body(assistant(text("a" * 40, MARK)))).cache_read_input_tokens == 0
    effort = {**user(text("a" * 40, MARK)), "output_config": {"effort": "low"}}
    assert run(cache, body(effort)).cache_read_input_tokens == 0
    assert run(cache, body(effort)).cache_read_input_tokens == 10


def test_models_share_nothing() -> None:
    cache = PromptCache()
    request = body(user(text("a" * 40, MARK)))
    run(cache, request)
    assert counts(run(cache, {**request, "model": "n"})) == (0, 10, 0)


@pytest.mark.parametrize(
    "setting",
    [
        {"thinking": {"type": "adaptive"}},
        {"tools": [], "tool_choice": {"type": "auto"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
    ],
)
def test_settings_that_make_the_api_drop_the_messages(setting: dict[str, Any]) -> None:
    cache = PromptCache()
    request = body(user(text("a" * 40, MARK)))
    run(cache, request)
    assert run(cache, {**request, **setting}).cache_read_input_tokens == 0
    assert run(cache, {**request, **setting}).cache_read_input_tokens == 10


def test_thinking_keeps_the_system_prompt_cached_and_the_output_format_does_not() -> None:
    cache = PromptCache()
    request = body(user(text("a" * 4)), system=[text("s" * 40, MARK)])
    run(cache, request)
    assert run(cache, {**request, "thinking": {"type": "adaptive"}}).cache_read_input_tokens == 10
    formatted = {**request, "output_config": {"format": {"type": "json_schema", "schema": {}}}}
    assert run(cache, formatted).cache_read_input_tokens == 0


def test_the_billing_line_is_no_part_of_the_prompt() -> None:
    cache = PromptCache()
    billing = text("x-anthropic-billing-header: cc_version=1.abc;")
    run(cache, body(user(text("a" * 40, MARK)), system=[billing, text("s" * 4)]))
    other = text("x-anthropic-billing-header: cc_version=1.def;")
    request = body(user(text("a" * 40, MARK)), system=[other, text("s" * 4)])
    assert counts(run(cache, request)) == (0, 0, 11)


def history(blocks: int, mark_at: int) -> dict[str, Any]:
    made = [text(f"{i:04d}") for i in range(blocks)]
    made[mark_at] = text(f"{mark_at:04d}", MARK)
    return body(user(*made))


@pytest.mark.parametrize(("last", "read"), [(19, 1), (20, 0)])
def test_a_hit_is_looked_for_up_to_twenty_blocks_back(last: int, read: int) -> None:
    cache = PromptCache()
    run(cache, history(1, 0))
    assert counts(run(cache, history(last + 1, last))) == (0, last + 1 - read, read)


def test_an_earlier_mark_reaches_further_back() -> None:
    cache = PromptCache()
    run(cache, history(1, 0))
    request = history(30, 29)
    request["messages"][0]["content"][10]["cache_control"] = MARK
    assert counts(run(cache, request)) == (0, 29, 1)


def test_the_longest_prefix_wins() -> None:
    cache = PromptCache()
    run(cache, body(user(text("a" * 40, MARK), text("b" * 40, MARK))))
    third = body(user(text("a" * 40, MARK), text("b" * 40, MARK), text("c" * 40, MARK)))
    assert counts(run(cache, third)) == (0, 10, 20)


def test_where_a_hit_ended() -> None:
    cache = PromptCache()
    first = body(
        user(text("a"), text("b", MARK)),
        tools=[{"name": "t", "cache_control": MARK}],
        system=[text("x-anthropic-billing-header: 1"), text("s", MARK)],
    )
    assert cache.look_up(first, 0.0).hit == ""
    run(cache, first)
    assert cache.look_up(first, 0.0).hit == "messages.0.content.1"
    assert cache.look_up({**first, "messages": [user(text("c", MARK))]}, 0.0).hit == "system.1"
    assert cache.look_up({**first, "system": "other"}, 0.0).hit == "tools.0"


def test_entries_are_there_only_once_the_answer_began() -> None:
    cache = PromptCache()
    request = body(user(text("a" * 40, MARK)))
    first = cache.look_up(request, 0.0)
    assert counts(cache.look_up(request, 0.0).usage) == (0, 10, 0)
    cache.store(first, 0.0)
    assert counts(cache.look_up(request, 0.0).usage) == (0, 0, 10)


def test_five_minutes_from_the_last_use() -> None:
    cache = PromptCache()
    request = body(user(text("a" * 40, MARK)))
    run(cache, request, 0.0)
    # Only looked up: a hit refreshes by itself.
    assert cache.look_up(request, 299.0).usage.cache_read_input_tokens == 10
    assert cache.look_up(request, 598.0).usage.cache_read_input_tokens == 10
    assert cache.look_up(request, 898.0).usage.cache_read_input_tokens == 0
    assert len(cache) == 0


def test_an_hour_if_asked_for() -> None:
    cache = PromptCache()
    request = body(user(text("a" * 40, HOUR), text("b" * 20, MARK)))
    first = run(cache, request)
    assert (first.ephemeral_1h_input_tokens, first.ephemeral_5m_input_tokens) == (10, 5)
    later = run(cache, request, 3000.0)
    assert counts(later) == (0, 5, 10)
    assert (later.ephemeral_1h_input_tokens, later.ephemeral_5m_input_tokens) == (0, 5)
    assert counts(run(cache, request, 3100.0)) == (0, 0, 15)


def test_more_than_four_marks_are_refused() -> None:
    request = body(user(*[text("a" * 4, MARK) for _ in range(5)]))
    with pytest.raises(CacheControlError, match="A maximum of 4 blocks with cache_control may be provided"):
        PromptCache().look_up(request, 0.0)


def test_an_hour_after_five_minutes_is_refused() -> None:
    with pytest.raises(CacheControlError, match="must not come after"):
        PromptCache().look_up(body(user(text("a" * 4, MARK), text("b" * 4, HOUR))), 0.0)


def test_a_short_prefix_is_not_cached() -> None:
    cache = PromptCache(minimum_tokens=11)
    short = body(user(text("a" * 40, MARK), text("b" * 8)))
    assert [counts(run(cache, short)), counts(run(cache, short))] == [(12, 0, 0), (12, 0, 0)]
    enough = body(user(text("a" * 40, MARK), text("b" * 8, MARK)))
    assert [counts(run(cache, enough)), counts(run(cache, enough))] == [(0, 12, 0), (0, 0, 12)]


def test_the_number_of_entries_is_bounded() -> None:
    cache = PromptCache(max_entries=2)
    for letter in "abc":
        run(cache, body(user(text(letter * 40, MARK))))
    assert repr(cache) == "<PromptCache entries=2 minimum_tokens=0>"
    assert run(cache, body(user(text("a" * 40, MARK)))).cache_read_input_tokens == 0
    assert run(cache, body(user(text("c" * 40, MARK)))).cache_read_input_tokens == 10
    cache.clear()
    assert run(cache, body(user(text("c" * 40, MARK)))).cache_read_input_tokens == 0


def test_marks_inside_a_tool_result_are_no_content() -> None:
    cache = PromptCache()

    def request(*inner: dict[str, Any]) -> dict[str, Any]:
        result = {"type": "tool_result", "tool_use_id": "t", "content": list(inner), "cache_control": MARK}
        return body(user(result))

    assert counts(run(cache, request(text("a" * 40, MARK)))) == (0, 10, 0)
    assert counts(run(cache, request(text("a" * 40)))) == (0, 0, 10)


@pytest.mark.parametrize(
    ("block", "tokens"),
    [
        ({"type": "image", "source": {"type": "base64", "data": "A" * 100_000}}, 1500),
        ({"type": "document", "source": {"type": "base64", "data": "A" * 100_000}}, 1500),
        ({"type": "thinking", "thinking": "a" * 8, "signature": "s" * 100}, 2),
        ({"type": "tool_use", "id": "x", "name": "four", "input": {"a": 10}}, 3),
        ({"type": "tool_result", "tool_use_id": "x", "content": "a" * 8}, 2),
        ({"type": "tool_result", "tool_use_id": "x"}, 0),
        ({"type": "x", "a": 1}, 5),
    ],
)
def test_the_size_of_a_block(block: dict[str, Any], tokens: int) -> None:
    assert count_tokens(body(user(block))) == tokens


def test_a_long_prompt_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = 0
    real = hashlib.blake2b

    class Counting:
        def __init__(self, digest_size: int) -> None:
            self.inner = real(digest_size=digest_size)

        def update(self, data: bytes) -> None:
            nonlocal hashed
            hashed += len(data)
            self.inner.update(data)

        def copy(self) -> Any:
            return self.inner.copy()

    monkeypatch.setattr(hashlib, "blake2b", Counting)
    messages = [user(text("a" * 5000)) if i % 2 == 0 else assistant(text("b" * 5000)) for i in range(40)]
    run(PromptCache(), body(*messages, cache_control=MARK))
    assert 200_000 < hashed < 205_000
