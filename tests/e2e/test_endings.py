"""Answers that end oddly: with no text that anybody sees, and on a connection that stays open."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import ApiRequest, Cut, RedactedThinking, Reply, StandIn, Thinking
from tests.support import PATIENCE, Server, clean_environment, serving

# The CLI goes on when the API has closed the stream. So it is certain that it has ended before.
OPEN = {"linger": 3.0}
UNSEEN = {
    "thinking alone": Reply.of(Thinking("Hm."), **OPEN),
    "redacted thinking alone": Reply.of(RedactedThinking(), **OPEN),
    "an empty text": Reply.of("", **OPEN),
    "a blank text": Reply.of(" \n", **OPEN),
    "thinking and a blank text": Reply.of(Thinking("Hm."), "\n\n", **OPEN),
    "nothing": Reply.of(**OPEN),
    "a stop text at once": Reply.of("END of it", **OPEN),
}


@pytest.fixture(scope="module")
def served(each_cli: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(
        home, shared_api.url, CLAUDE_BIN=str(each_cli), CLAUDE_BASE_BACKOFF="0.05", CLAUDE_MAX_RETRIES="2"
    )
    with serving(home, environment) as running:
        yield running


def post(server: Server, text: str, **more: Any) -> httpx.Response:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": text}], **more}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)


@pytest.mark.parametrize("session", [False, True], ids=["", "in a session"])
@pytest.mark.parametrize("case", UNSEEN)
def test_no_visible_text_is_an_answer(case: str, session: bool, served: Server, api: StandIn) -> None:
    """One request to the API, though the CLI would ask again; the next turn is as good as any."""
    more: dict[str, Any] = {"stop": ["END"]}
    if session:
        more["session_id"] = str(uuid.uuid4())
    api.push(UNSEEN[case], "First.", UNSEEN[case], "Second.")
    whole = post(served, "one", **more)
    assert whole.status_code == 200, whole.text
    (choice,) = whole.json()["choices"]
    assert (choice["message"]["content"].strip(), choice["finish_reason"]) == ("", "stop")
    assert whole.json()["usage"]["completion_tokens"] >= 1
    assert whole.json()["x_claude"]["api_requests"] == 1
    assert bool(whole.json()["x_claude"].get("notices")) is session
    assert post(served, "two", **more).json()["choices"][0]["message"]["content"] == "First."
    streamed = post(served, "three", **more, stream=True)
    assert streamed.status_code == 200 and streamed.text.rstrip().endswith("data: [DONE]")
    assert '"finish_reason":"stop"' in streamed.text
    assert post(served, "four", **more).json()["choices"][0]["message"]["content"] == "Second."
    assert len(api.turns) == 4
    if session:
        kept = [text for role, text in api.last.conversation if role == "user"]
        assert kept == ["two", "four"]


def test_at_most_one_more_request_goes_out(served: Server, api: StandIn) -> None:
    """Where the API closes the stream at once, the CLI may be quicker than its end; what is told holds."""

    def answers(request: ApiRequest) -> Reply:
        asked = [text for role, text in request.conversation if role == "user"][-1]
        return (
            Reply.of(RedactedThinking())
            if asked == "three" or len(api.turns) > 5
            else Reply.of(f"To {asked}.")
        )

    api.responder = answers
    more = {"session_id": str(uuid.uuid4())}
    assert post(served, "two", **more).json()["choices"][0]["message"]["content"] == "To two."
    unseen = post(served, "three", **more)
    assert unseen.status_code == 200
    assert unseen.json()["choices"][0]["message"]["content"] == ""
    assert post(served, "four", **more).json()["choices"][0]["message"]["content"] == "To four."
    assert [text for role, text in api.last.conversation if role == "user"] == ["two", "four"]
    assert len(api.turns) in (3, 4)


def test_an_empty_text_is_no_json(served: Server, api: StandIn) -> None:
    """It fails the check of the answer, is asked for anew, and told as the model's failure at last."""
    api.push(Reply.of("", **OPEN), '{"a": 1}')
    wanted = {"response_format": {"type": "json_object"}}
    answer = post(served, "one", **wanted)
    assert answer.json()["choices"][0]["message"]["content"] == '{"a": 1}'
    api.push(*[Reply.of("", **OPEN)] * 3)
    assert post(served, "two", **wanted).status_code == 502
    assert len(api.turns) == 4


def test_a_cut_answer_without_text_is_still_a_failure(served: Server, api: StandIn) -> None:
    for cut in (Cut(chars=0), Cut(after=Reply.of(Thinking("Hm."), "text"), chars=3)):
        api.push(cut, cut, cut)
        assert post(served, "go").status_code == 502
    api.push("Well.")
    assert post(served, "go").json()["choices"][0]["message"]["content"] == "Well."


@pytest.mark.parametrize("session", [False, True], ids=["", "in a session"])
def test_a_connection_that_stays_open_holds_nobody(session: bool, served: Server, api: StandIn) -> None:
    """The answer is whole; its process is not used again, since it still waits."""
    more = {"session_id": str(uuid.uuid4())} if session else {}
    for stream in (False, True):
        api.push(Reply.of("Done.", linger=30.0), "Next.")
        begun = time.monotonic()
        answer = post(served, "one", stream=stream, **more)
        assert answer.status_code == 200 and "Done." in answer.text
        assert time.monotonic() - begun < 8
        assert post(served, "two", **more).json()["choices"][0]["message"]["content"] == "Next."
        if session:
            assert ("assistant", "Done.") in api.last.conversation
