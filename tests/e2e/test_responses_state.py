"""Responses and conversations that are kept, through the real CLI."""

from __future__ import annotations

import signal
import time
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from claude_server.standin import ApiError, Reply, StandIn, Thinking, ToolUse
from tests.e2e.test_responses import WEATHER, post
from tests.e2e.test_tools import exchange
from tests.support import PATIENCE, Server, clean_environment, serving


@pytest.fixture
def client(server: Server) -> OpenAI:
    return server.client()


def test_a_tree_of_responses(client: OpenAI, api: StandIn) -> None:
    """Any response can be gone on with, more than once; instructions don't carry over, items do."""
    api.push("Blue.", "Green.", "Deep.", "Sea.")
    first = client.responses.create(model="sonnet", input="A colour?", instructions="One word.")
    second = client.responses.create(model="sonnet", input="Another?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert api.last.conversation == [("user", "A colour?"), ("assistant", "Blue."), ("user", "Another?")]
    assert "One word." not in str(api.last.body["system"])
    client.responses.create(model="sonnet", input="What kind?", previous_response_id=first.id)
    assert api.last.conversation[1:] == [("assistant", "Blue."), ("user", "What kind?")]
    with client.responses.stream(model="sonnet", input="Where?", previous_response_id=second.id) as stream:
        third = stream.get_final_response()
    assert [text for _, text in api.last.conversation] == [
        *("A colour?", "Blue.", "Another?", "Green.", "Where?")
    ]
    assert client.responses.retrieve(third.id).output_text == "Sea."
    items = client.responses.input_items.list(third.id, order="asc", limit=2)
    newest_first = [item.id for item in client.responses.input_items.list(third.id)]
    assert [item.id for item in items] == newest_first[::-1] and len(newest_first) == 5
    client.responses.delete(first.id)
    for wrong in (third.id, first.id, "resp_none"):
        with pytest.raises(openai.BadRequestError) as raised:
            client.responses.create(model="sonnet", input="x", previous_response_id=wrong)
        assert (raised.value.code, raised.value.param) == (
            *("previous_response_not_found", "previous_response_id"),
        )
    for call in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(first.id)


def test_calls_thinking_and_references(client: OpenAI, api: StandIn) -> None:
    """Only the output comes with the second request; the call and its thinking are kept. Or items are named
    by their ids."""
    call = ToolUse("get_weather", {"city": "Oslo"})
    api.push(Reply.of(Thinking("A city."), call), "Cold.", "Colder.")
    tools: Any = [WEATHER]
    first = client.responses.create(model="sonnet", input="The weather?", tools=tools)
    thought, made = first.output
    assert thought.type == "reasoning" and thought.encrypted_content is None and made.type == "function_call"
    result: Any = {"type": "function_call_output", "call_id": made.call_id, "output": "-3"}
    second = client.responses.create(
        model="sonnet", input=[result], tools=tools, previous_response_id=first.id
    )
    assert second.output_text == "Cold."
    said, given = exchange(api.last)
    assert [block["type"] for block in said] == ["thinking", "tool_use"]
    assert given[0]["tool_use_id"] == made.call_id
    assert [item.type for item in client.responses.input_items.list(second.id, order="asc")] == [
        *("message", "reasoning", "function_call", "function_call_output")
    ]
    sealed = client.responses.retrieve(first.id, include=["reasoning.encrypted_content"])
    assert sealed.output[0].encrypted_content  # type: ignore[union-attr]

    named: Any = [
        {"role": "user", "content": "The weather?"},
        *({"type": "item_reference", "id": item.id} for item in first.output),
        {"type": "item_reference", "id": "rs_unknown"},
        result,
    ]
    assert client.responses.create(model="sonnet", input=named, tools=tools).output_text == "Colder."
    assert [block["type"] for block in exchange(api.last)[0]] == ["thinking", "tool_use"]
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="sonnet", input=[{"type": "item_reference", "id": "msg_unknown"}])


def test_what_is_not_stored(server: Server, client: OpenAI, api: StandIn) -> None:
    made = client.responses.create(model="sonnet", input="hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    assert post(server, input="hi", store=False).json()["store"] is False


def test_conversations(client: OpenAI, api: StandIn) -> None:
    api.push("Blue.", "Green.")
    begun = client.conversations.create(metadata={"a": "b"}, items=[{"role": "user", "content": "Be brief."}])
    assert client.conversations.retrieve(begun.id).metadata == {"a": "b"}
    made = client.responses.create(model="sonnet", input="A colour?", conversation=begun.id)
    assert made.conversation is not None and made.conversation.id == begun.id
    client.responses.create(model="sonnet", input="Another?", conversation={"id": begun.id}, store=False)
    assert [text for _, text in api.last.conversation] == ["Be brief.A colour?", "Blue.", "Another?"]
    items = [*client.conversations.items.list(begun.id, order="asc", limit=2)]
    assert len(items) == 5
    added = client.conversations.items.create(begun.id, items=[{"role": "user", "content": "More."}])
    assert client.conversations.items.retrieve(str(added.first_id), conversation_id=begun.id)
    client.conversations.items.delete(str(items[0].id), conversation_id=begun.id)
    assert len([*client.conversations.items.list(begun.id)]) == 5
    assert client.conversations.update(begun.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert client.conversations.delete(begun.id).deleted
    for call in (client.conversations.retrieve, client.conversations.items.list):
        with pytest.raises(openai.NotFoundError):
            call(begun.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="sonnet", input="x", conversation=begun.id)


def test_each_key_has_its_own(claude_bin: Any, api: StandIn, tmp_path: Any) -> None:
    """Nothing of another key's is seen; what was promised outlives SIGKILL; RESPONSES_MAX is a bound."""
    chosen = {"API_KEYS": "one-key-of-many,two-key-of-many", "RESPONSES_MAX": "3"}
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin), **chosen)

    def ask(server: Server, method: str, path: str, key: str, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}-key-of-many"}
        sent = {"json": {"model": "sonnet", **body}} if method == "POST" else {}
        return httpx.request(method, f"{server.base_url}{path}", headers=headers, timeout=PATIENCE, **sent)  # type: ignore[arg-type]

    with serving(tmp_path / "home", environment) as server:
        first = ask(server, "POST", "/responses", "one", input="hi").json()["id"]
        server.stop(signal.SIGKILL)
    with serving(tmp_path / "home", environment) as server:
        assert ask(server, "GET", f"/responses/{first}", "one").status_code == 200
        assert ask(server, "GET", f"/responses/{first}", "two").status_code == 404
        followed = ask(server, "POST", "/responses", "two", input="x", previous_response_id=first)
        assert followed.json()["error"]["code"] == "previous_response_not_found"
        more = [ask(server, "POST", "/responses", "one", input="hi").json()["id"] for _ in range(3)]
        found = [ask(server, "GET", f"/responses/{id}", "one").status_code for id in (first, *more)]
        assert found == [404, 200, 200, 200]


def waited(client: OpenAI, id: str) -> Any:
    """The response, once it has ended."""
    found = client.responses.retrieve(id)
    while found.status in ("queued", "in_progress"):
        time.sleep(0.05)
        found = client.responses.retrieve(id)
    return found


def test_background(client: OpenAI, api: StandIn) -> None:
    """Taken at once; followed live and after the fact from any event on, each event exactly once; gone on
    with when it has ended."""
    slow = Reply.of(Thinking("Let me count."), "one two three four five", chunk_chars=4, delay=0.05)
    api.push(slow, slow, "six")
    taken = client.responses.create(model="sonnet", input="Count.", background=True)
    assert (taken.status, taken.background, taken.output) == ("queued", True, [])
    whole = waited(client, taken.id)
    assert (whole.status, whole.output_text) == ("completed", "one two three four five")

    live = client.responses.create(model="sonnet", input="Count.", background=True, stream=True)
    first = [next(live) for _ in range(8)]
    live.close()
    assert [event.type for event in first[:3]] == [
        *("response.created", "response.queued", "response.in_progress")
    ]
    id = first[0].response.id  # type: ignore[union-attr]
    rest = [*client.responses.retrieve(id, stream=True, starting_after=7)]
    again = [*client.responses.retrieve(id, stream=True)]
    assert [event.sequence_number for event in again] == list(range(len(again)))
    assert [*first, *rest] == again and again[-1].type == "response.completed"
    assert [*client.responses.retrieve(id, stream=True, starting_after=len(again) - 2)] == again[-1:]
    with client.responses.stream(response_id=id, starting_after=9) as stream:
        assert [event.sequence_number for event in stream] == list(range(10, len(again)))
    followed = client.responses.create(model="sonnet", input="And?", previous_response_id=id)
    assert followed.output_text == "six"


def test_a_background_response_is_cancelled(client: OpenAI, api: StandIn) -> None:
    api.push(Reply.of("one two three", chunk_chars=2, delay=1.0))
    events = client.responses.create(model="sonnet", input="Count.", background=True, stream=True)
    id = next(events).response.id  # type: ignore[union-attr]
    assert any(event.type == "response.output_text.delta" for event in events)
    (turn,) = api.turns
    for _ in range(2):
        assert client.responses.cancel(id).status == "cancelled"
    last = [*events][-1]
    assert last.type == "response.failed" and last.response.status == "cancelled"
    assert api.wait_ended(turn) != "complete"
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(client.responses.create(model="sonnet", input="hi").id)
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_none")
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="sonnet", input="hi", background=True, store=False)


def test_a_server_that_is_stopped(claude_bin: Any, api: StandIn, tmp_path: Any) -> None:
    """What it made in the background has failed, with a reason; what had ended is there."""
    environment = clean_environment(
        tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin), DRAIN_TIMEOUT="0.1", CLAUDE_MAX_RETRIES="0"
    )
    with serving(tmp_path / "home", environment) as server:
        done = server.client().responses.create(model="sonnet", input="hi", background=True)
        whole = waited(server.client(), done.id)
        api.push(Reply.of("one two three", chunk_chars=2, delay=5.0), ApiError(529))
        cut = server.client().responses.create(model="sonnet", input="Count.", background=True)
        api.wait_for_turns(2)
        failed = server.client().responses.create(model="sonnet", input="Fail.", background=True)
        found = waited(server.client(), failed.id)
        assert found.status == "failed" and found.error.code == "server_error"
    with serving(tmp_path / "home", environment) as server:
        client = server.client()
        assert client.responses.retrieve(done.id) == whole
        found = client.responses.retrieve(cut.id)
        assert found.status == "failed" and found.error is not None and "stopped" in found.error.message
        assert [*client.responses.retrieve(cut.id, stream=True)][-1].type == "response.failed"
