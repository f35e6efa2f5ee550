"""Warm workers over the real CLI: the requests of a fresh process, and nothing of anybody else's."""

from __future__ import annotations

import json
import random
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.engine.workers.state import Abilities
from claude_server.standin import ApiError, ApiRequest, Reply, StandIn, ToolUse
from tests.conftest import newest_cli, older_cli
from tests.support import PATIENCE, Server, abilities_of, clean_environment, seed_abilities, serving

# What differs between two processes by nature: ids, and the clock.
VOLATILE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{64}")
WORDS = [
    "apple",
    "river",
    "seven",
    "cloud",
    "ember",
    "violet",
    "stone",
    "/",
    "@etc/passwd",
    "paper",
    "狐",
    "🦊",
    "quick",
]
TOOL_NAMES = ("Bash", "Read", "lookup", "say", "Task")
MODELS = ("sonnet", "haiku", "opus", "default", "claude-sonnet-4-6")


@pytest.fixture
def warm(claude_bin: Path, api: StandIn, tmp_path: Path) -> Iterator[Server]:
    """A server with few workers."""
    environment = clean_environment(
        tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin), CLAUDE_MAX_CONCURRENCY="2"
    )
    with serving(tmp_path / "home", environment, "--port", "0", "--max-retries", "0") as server:
        yield server


def post(server: Server, body: dict[str, Any], timeout: float = PATIENCE) -> httpx.Response:
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=timeout)


def workers(server: Server) -> dict[str, int]:
    cli: dict[str, Any] = server.health()["cli"]
    found: dict[str, int] = cli["workers"]
    return found


def random_request(rng: random.Random) -> dict[str, Any]:
    """A chat request with any of what a worker must be put into the state for."""

    def say() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))

    messages: list[dict[str, str]] = []
    if rng.random() < 0.6:
        messages.append({"role": "system", "content": say()})
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        messages += [{"role": "user", "content": say()}, {"role": "assistant", "content": say()}]
    body: dict[str, Any] = {
        "model": rng.choice(MODELS),
        "messages": [*messages, {"role": "user", "content": say()}],
    }
    if rng.random() < 0.3:
        body["max_tokens"] = rng.choice((100, 2000))
    if rng.random() < 0.4:
        body["tools"] = [random_tool(rng, name) for name in rng.sample(TOOL_NAMES, rng.randint(1, 3))]
        body["tool_choice"] = rng.choice(("auto", "none", "required"))
    if rng.random() < 0.2:
        body["stop"] = say()
    if rng.random() < 0.3:
        body["reasoning_effort"] = rng.choice(("none", "low", "high"))
    return body


def random_tool(rng: random.Random, name: str) -> dict[str, Any]:
    """A tool that another request may describe in another way, or give other arguments."""
    schema = {"type": "object", "properties": {rng.choice("ab"): {"type": rng.choice(("string", "number"))}}}
    function = {"name": name, "description": rng.choice(WORDS), "parameters": schema}
    return {"type": "function", "function": function}


def comparable(request: ApiRequest) -> str:
    """A request's body without what differs by nature, and without the notes of the CLI's own, which a forced
    level leaves in: nothing was found out about that CLI."""
    said = [_without_notes(message) for message in request.body["messages"] if message["role"] != "system"]
    return VOLATILE.sub("-", json.dumps({**request.body, "messages": said}, sort_keys=True))


def _without_notes(message: dict[str, Any]) -> dict[str, Any]:
    """Models that take no system message in the middle get the notes as blocks of the user's."""
    blocks = message["content"]
    kept = [block for block in blocks if not str(block.get("text", "")).startswith("<system-reminder>")]
    return {**message, "content": kept}


def without_the_date(body: str) -> str:
    """Newer CLIs say the date at the end of what they tell of the surroundings, or, where the history wasn't
    theirs, in a message of its own after the question."""
    kept = re.sub(r"(\\n)*Today's date is \d{4}-\d\d-\d\d\.", "", body)
    return re.sub(r', \{"content": "", "role": "system"\}', "", kept)


@pytest.mark.parametrize("count", [24, pytest.param(300, marks=pytest.mark.long)])
def test_a_warm_worker_sends_what_a_fresh_process_sends(
    warm: Server, claude_bin: Path, api: StandIn, tmp_path: Path, count: int
) -> None:
    """Random requests through two workers; each body is compared with that of a fresh process."""
    rng = random.Random(count)
    requests = [random_request(rng) for _ in range(count)]
    for number, body in enumerate(requests):
        body["messages"][-1]["content"] += f" number {number}"

    def bodies(server: Server) -> list[str]:
        """What reaches the API, two at a time."""
        api.reset()
        api.responder = lambda request: Reply.of("ok")
        with ThreadPoolExecutor(2) as pool:
            assert {answer.status_code for answer in pool.map(lambda body: post(server, body), requests)} == {
                200
            }
        return sorted(map(comparable, api.turns))

    # Same folder, so that the same path is printed into the requests; the fresh ones come after.
    sent = bodies(warm)
    seen = workers(warm)
    assert seen["reused"] > 0.6 * count
    assert warm.stop() == 0
    environment = clean_environment(
        tmp_path / "home",
        api.url,
        CLAUDE_BIN=str(claude_bin),
        CLAUDE_ENGINE="spawn",
        CLAUDE_MAX_CONCURRENCY="2",
    )
    with serving(tmp_path / "home", environment) as fresh:
        for warmed, cold in zip(sent, bodies(fresh), strict=True):
            assert warmed == cold


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_nothing_of_one_conversation_reaches_another(warm: Server, api: StandIn, count: int) -> None:
    """Many conversations with a nonce each, some cancelled, some failed, through two workers."""
    rng = random.Random(7)

    def respond(request: ApiRequest) -> Any:
        nonce = re.findall(r"nonce-\w+", request.last_user_text)[-1]
        if nonce.endswith("f"):
            return ApiError(529)
        return Reply.of(f"answer to {nonce}", first_delay=1.0 if nonce.endswith("c") else 0.0)

    api.responder = respond

    def talk(number: int) -> None:
        kind = "c" if number % 50 == 0 else "f" if number % 20 == 1 else "k"
        nonce = f"nonce-{number:04}x{uuid.UUID(int=rng.getrandbits(128)).hex[:8]}{kind}"
        history = [
            {"role": "user", "content": f"before {nonce}"},
            {"role": "assistant", "content": f"earlier {nonce}"},
        ]
        body = {
            "model": MODELS[number % 3],
            "messages": [
                *([{"role": "system", "content": f"system {nonce}"}] if number % 3 else []),
                *(history if number % 2 else []),
                {"role": "user", "content": f"ask {nonce}"},
            ],
            "stream": number % 4 == 0,
        }
        try:
            answer = post(warm, body, timeout=0.3 if kind == "c" else PATIENCE)
        except httpx.TimeoutException:
            assert kind == "c"
            return
        assert answer.status_code == (503 if kind == "f" else 200), answer.text
        # Streamed, the answer comes in pieces that may cut a nonce.
        pieces = re.findall(r'"content":"([^"]*)"', answer.text)
        assert set(re.findall(r"nonce-\w+", "".join(pieces))) == ({nonce} if kind == "k" else set())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(talk, range(count)))
    mixed = [r for r in api.turns if len(set(re.findall(rb"nonce-\w+", r.raw))) != 1]
    assert mixed == []
    assert len({n for r in api.turns for n in re.findall(rb"nonce-\w+", r.raw)}) >= 0.98 * count
    seen = workers(warm)
    assert seen["reused"] > 0.9 * count
    assert warm.health()["slots"]["running"] == 0


def test_a_chat_goes_on_in_the_worker_that_holds_it(warm: Server, api: StandIn) -> None:
    """The same request as by injection, but for where newer CLIs put the date."""
    messages: list[dict[str, str]] = [{"role": "system", "content": "Count."}]
    held = []
    for number in range(4):
        messages.append({"role": "user", "content": f"Question {number}"})
        api.push(f"Answer {number}")
        answer = post(warm, {"model": "sonnet", "messages": messages})
        messages.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]})
        held.append(comparable(api.last))
    # Another conversation in between: then the history is injected.
    for number in range(1, 4):
        post(warm, {"model": "sonnet", "messages": [{"role": "user", "content": "something else"}]})
        post(
            warm,
            {
                "model": "haiku",
                "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}],
            },
        )
        post(warm, {"model": "sonnet", "messages": messages[: 2 + 2 * number]})
        assert without_the_date(comparable(api.last)) == without_the_date(held[number])


@pytest.mark.parametrize("version", ["newest", "2.1.197"])
@pytest.mark.parametrize("holds", [True, False])
def test_the_history_is_read_from_the_cache(version: str, holds: bool, api: StandIn, tmp_path: Path) -> None:
    """Ten turns: from the third on all that the API has seen is read from the cache; on a worker that does
    not hold the chat, all but the last exchange."""
    binary = newest_cli() if version == "newest" else older_cli(version)
    share = "key" if holds else "never"
    environment = clean_environment(
        tmp_path / "home", api.url, CLAUDE_BIN=str(binary), CLAUDE_SHARE_WORKERS=share
    )
    messages: list[dict[str, str]] = [{"role": "system", "content": "You are a patient teacher. " * 20}]
    seen: list[int] = []
    with serving(tmp_path / "home", environment) as server:
        for number in range(10):
            messages.append({"role": "user", "content": f"Question {number} about tides. " * 10})
            api.push(f"Answer {number} about tides. " * 10)
            answer = post(server, {"model": "sonnet", "messages": messages}).json()
            messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"]})
            usage = answer["usage"]
            if number >= 2:
                # What the request before sent: its answer and this question are new.
                floor = seen[-1] if holds else seen[-2]
                assert usage["cache_read_input_tokens"] >= floor - _DATE_TOKENS, (number, usage, seen)
            seen.append(usage["prompt_tokens"])


LOGIN = {"CLAUDE_AUTH_METHOD": "cli", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-made-up"}
LOOKUP = {"type": "function", "function": {"name": "lookup", "description": "looks up", "parameters": {}}}


def as_cached(request: ApiRequest) -> list[Any]:
    """Its messages as the API's cache compares them, but for what newer CLIs say after the question."""
    text = json.dumps(request.body["messages"])
    messages: list[Any] = json.loads(re.sub(r', "cache_control": {[^}]*}', "", text))
    return messages[:-1] if messages[-1]["role"] == "system" else messages


@pytest.mark.parametrize(
    ("version", "login"),
    [("newest", {}), ("newest", LOGIN), ("2.1.197", {})],
    ids=["key", "login", "2.1.197"],
)
def test_a_conversation_with_tools_begins_the_same_each_time(
    version: str, login: dict[str, str], api: StandIn, tmp_path: Path
) -> None:
    """Calls and texts in turn, and other limits in between: no request leaves what was cached before."""
    binary = newest_cli() if version == "newest" else older_cli(version)
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(binary), **login)
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Look things up."}]
    seen: list[Any] = []
    with serving(tmp_path / "home", environment) as server:
        for number, calls in enumerate((True, False, False, True, True, False, False)):
            messages.append({"role": "user", "content": f"Question {number}"})
            answers = [Reply.of(ToolUse("lookup", {"x": "1"}))] * calls + [Reply.of(f"Answer {number}")]
            for answer in answers:
                api.push(answer)
                body = {
                    "model": "sonnet",
                    "messages": messages,
                    "tools": [LOOKUP],
                    "max_tokens": 900 + number,
                }
                said = post(server, body).json()["choices"][0]["message"]
                sent = as_cached(api.last)
                assert sent[: len(seen)] == seen
                seen = sent
                messages.append({key: said[key] for key in said if key in ("role", "content", "tool_calls")})
                for call in said.get("tool_calls") or ():
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": "found"})
    assert len(seen) >= 2 * 10 - 1


def test_the_clis_own_notes_are_left_out_where_they_can_be(
    claude_bin: Path, api: StandIn, tmp_path: Path
) -> None:
    """With an API key; not with a login, which the CLI couldn't use then."""
    sizes = {}
    for name, login in (("key", {}), ("login", LOGIN)):
        home = tmp_path / name
        environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin), **login)
        with serving(home, environment) as server:
            body = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]}
            assert post(server, body).status_code == 200
            cli: dict[str, Any] = server.health()["cli"]
            assert (cli["engine"], cli["abilities"]["simple"]) == ("warm", name == "key")
        sizes[name] = len(api.last.raw)
        noted = [note in api.last.raw for note in (b"# Environment", b"Today's date")]
        assert noted == [name == "login"] * 2
    assert sizes["key"] < 800 < 1500 < sizes["login"]


# A date that newer CLIs add after the question is no part of the history.
_DATE_TOKENS = 10


def test_a_worker_that_failed_serves_on(warm: Server, api: StandIn) -> None:
    """An API error leaves the process clean: it is emptied and used again."""
    api.push(ApiError(529), "fine")
    before = warm.claude_processes()
    assert post(warm, {"messages": [{"role": "user", "content": "THIS FAILS"}]}).status_code == 503
    assert post(warm, {"messages": [{"role": "user", "content": "next"}]}).status_code == 200
    assert api.last.conversation == [("user", "next")]
    assert set(before) <= set(warm.claude_processes())


def test_a_cut_answer_leaves_nothing_behind(warm: Server, api: StandIn) -> None:
    """The process is interrupted, emptied and used again; the cost of what was answered is known."""
    before = warm.claude_processes()
    for reason in ("max_tokens", "refusal", "model_context_window_exceeded"):
        api.push(Reply.of("Half of it", stop_reason=reason))
        cut = post(warm, {"messages": [{"role": "user", "content": f"cut by {reason}"}]}).json()
        assert cut["choices"][0]["message"]["content"] == "Half of it"
        assert cut["x_claude"]["cost_usd"] > 0
        assert post(warm, {"messages": [{"role": "user", "content": "next"}]}).status_code == 200
        assert api.last.conversation == [("user", "next")]
    assert set(before) <= set(warm.claude_processes())
    # The CLI's own next request is sometimes quicker than the interrupt.
    assert 6 <= len(api.turns) <= 9


def test_a_session_stays_in_its_process(warm: Server, api: StandIn) -> None:
    session = str(uuid.uuid4())
    body = {"model": "sonnet", "session_id": session, "messages": [{"role": "user", "content": "one"}]}
    post(warm, body)
    started = workers(warm)["started"]
    for _ in range(3):
        answer = post(warm, body)
        assert answer.headers["x-claude-session"] == "resumed"
    assert workers(warm)["started"] == started
    assert len(api.last.conversation) == 7


def test_sessions_beyond_the_cap_are_resumed(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    chosen = {"CLAUDE_BIN": str(claude_bin), "CLAUDE_KEPT_SESSIONS": "1"}
    environment = clean_environment(tmp_path / "home", api.url, **chosen)
    names = [str(uuid.uuid4()) for _ in range(3)]
    with serving(tmp_path / "home", environment) as server:
        for turn in range(2):
            for name in names:
                body = {"session_id": name, "messages": [{"role": "user", "content": f"{turn} of {name}"}]}
                assert post(server, body).status_code == 200
                assert len(api.last.conversation) == 2 * turn + 1
        assert workers(server)["retired: session cap"] >= 4


def test_the_first_request_finds_a_warm_worker(warm: Server, api: StandIn) -> None:
    assert workers(warm) == {"idle": 1, "waiting at calls": 0, "started": 1}
    post(warm, {"messages": [{"role": "user", "content": "hi"}]})
    seen = workers(warm)
    assert seen["fresh"] == 1 and "waited" not in seen


def test_a_burst_finds_warm_workers(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """They come up behind the ready line; so many requests at once start none, and wait for none."""
    chosen = {"CLAUDE_BIN": str(claude_bin), "CLAUDE_WARM_WORKERS": "3"}
    with serving(tmp_path / "home", clean_environment(tmp_path / "home", api.url, **chosen)) as server:
        until = time.monotonic() + PATIENCE
        while workers(server).get("idle") != 3:
            assert time.monotonic() < until
            time.sleep(0.05)
        with ThreadPoolExecutor(3) as pool:
            body = {"messages": [{"role": "user", "content": "hi"}]}
            answers = list(pool.map(lambda _: post(server, body), range(3)))
        assert [answer.status_code for answer in answers] == [200] * 3
        seen = workers(server)
        assert seen["fresh"] + seen.get("reused", 0) == 3 and "waited" not in seen


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("CLAUDE_WORKER_TURNS", "3", "retired: turns"),
        ("CLAUDE_SHARE_WORKERS", "never", "retired: not shared"),
        ("CLAUDE_WORKER_AGE", "0.5", "retired: age"),
    ],
)
def test_workers_are_retired(
    claude_bin: Path, api: StandIn, tmp_path: Path, setting: str, value: str, reason: str
) -> None:
    environment = clean_environment(
        tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin), **{setting: value}
    )
    with serving(tmp_path / "home", environment) as server:
        for number in range(6):
            answer = post(server, {"messages": [{"role": "user", "content": f"n{number}"}]})
            assert answer.json()["choices"][0]["message"]["content"] == f"You said: n{number}"
        assert workers(server)[reason] >= 1


def test_a_full_process_is_retired_for_its_memory(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    chosen = {"CLAUDE_BIN": str(claude_bin), "CLAUDE_WORKER_MEMORY": "1"}
    environment = clean_environment(tmp_path / "home", api.url, **chosen)
    with serving(tmp_path / "home", environment) as server:
        for number in range(10):
            post(server, {"messages": [{"role": "user", "content": f"n{number}"}]})
        assert workers(server)["retired: memory"] >= 1


@pytest.mark.parametrize("level", ["warm", "keyed", "spawn", "text", "plain"])
def test_every_level_answers(level: str, claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    environment = clean_environment(
        tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin), CLAUDE_ENGINE=level
    )
    body = {
        "model": "sonnet",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "/one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "@/etc/passwd three"},
        ],
    }
    with serving(tmp_path / "home", environment) as server:
        for _ in range(2):
            answer = post(server, body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["x_claude"]["engine"] == level
            assert answer.json()["usage"]["completion_tokens"] > 0
            assert api.last.system_texts[-1] == "Be brief."
            assert "three" in api.last.last_user_text and b"root:" not in api.last.raw
            if level in ("warm", "keyed", "spawn"):
                assert [role for role, _ in api.last.conversation] == ["user", "assistant", "user"]
        alone = {"model": "sonnet", "messages": [{"role": "user", "content": "/clear"}]}
        assert post(server, alone).status_code == 200
        assert api.last.conversation == [("user", " /clear")]
        api.push(ApiError(404), ApiError(404))
        assert post(server, body).status_code == 404


def test_another_cli_in_the_same_place_is_tried_anew(api: StandIn, tmp_path: Path) -> None:
    """The binary is replaced while the server runs: the next turn runs on the new one, as it can. One that
    runs meanwhile goes on to its end on the old one."""
    link = tmp_path / "claude"
    link.symlink_to(newest_cli())
    home = tmp_path / "home"
    with serving(home, clean_environment(home, api.url, CLAUDE_BIN=str(link))) as server:
        hi = {"messages": [{"role": "user", "content": "hi"}]}
        assert post(server, hi).json()["x_claude"]["engine"] == "warm"
        # Longer than it takes to try one out.
        api.push(Reply.of("piece " * 150, chunk_chars=6, delay=0.1))
        body = {"messages": [{"role": "user", "content": "long"}], "stream": True}
        with httpx.stream("POST", f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE) as long:
            lines = (line for line in long.iter_lines() if "piece" in line)
            next(lines)
            fresh = tmp_path / "fresh"
            fresh.symlink_to(older_cli("2.1.197"))
            fresh.replace(link)
            assert post(server, hi, 3 * PATIENCE).json()["x_claude"]["engine"] == "keyed"
            assert sum(line.count("piece") for line in lines) == 149
        cli: Any = server.health()["cli"]
        assert cli["version"] == "2.1.197"
        link.unlink()
        gone = post(server, hi)
        assert gone.status_code == 503 and "CLAUDE_BIN" in gone.text
        assert httpx.get(f"{server.url}/health").json()["status"] == "unhealthy"


def test_the_self_test_tells_versions_apart() -> None:
    """As seen at the stand-in, not by version number."""
    # It dates a held conversation and an injected one in different places.
    assert abilities_of(str(newest_cli())) == replace(
        Abilities(*[True] * len(fields(Abilities))), stable_prefix=False
    )
    older = abilities_of(str(older_cli("2.1.197")))
    assert older.level == "keyed" and older.inject and older.empty and not older.set_system
    oldest = abilities_of(str(older_cli("2.1.90")))
    assert oldest.level == "text" and oldest.stream_json and not oldest.inject


def test_seeded_abilities_hold_for_their_binary_only(api: StandIn, tmp_path: Path) -> None:
    """What was found for one binary says nothing of another."""
    home = tmp_path / "home"
    seed_abilities(home, str(older_cli("2.1.197")), Abilities())
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(newest_cli()))
    (home / "state" / "abilities.json").write_text("{}")
    with serving(home, environment) as server:
        cli: Any = server.health()["cli"]
        assert cli["engine"] == "warm"
    stored = json.loads((home / "state" / "abilities.json").read_text())
    assert len(stored) == 1
