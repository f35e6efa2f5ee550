"""The three demos against the real server and the real CLI."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from claude_server.standin import ApiError, ApiRequest, Reply, Silence, StandIn, StreamError
from tests.lab.demos.conftest import Demos
from tests.support import PATIENCE, Server

DEMOS = ("parallel_client_demo", "multi_turn_demo", "session_demo")
TALKS = ("multi_turn_demo", "session_demo")
TALK = [
    "You: My name is Alice, I'm a backend engineer, and I live in Lisbon.",
    "Claude: Nice to meet you, Alice. I'll remember that.",
    "You: What is my name?",
    "Claude: Your name is Alice.",
    "You: What do I do for a living?",
    "Claude: You are a backend engineer.",
    "You: Which city do I live in?",
    "Claude: You live in Lisbon.",
]
CAPITALS = ("Lisbon", "Tokyo", "Nairobi", "Lima", "Oslo", "Cairo", "Ottawa", "New Delhi")


def spoken(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("You: ", "Claude: "))]


def rows(lines: list[str]) -> list[list[str]]:
    """The cells of the table's rows, the row's number first."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines if re.match(r"\s*\d+\s{2,}\S", line)]
    assert [row[0] for row in cells] == [str(number) for number in range(1, len(cells) + 1)]
    return cells


def counted(request: ApiRequest) -> list[str]:
    """prompt tokens, cached ones and written ones, as the stand-in reported them."""
    usage = request.usage
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    return [f"{n:,}" for n in (usage.input_tokens + read + written, read, written)]


def is_time(cell: str) -> bool:
    return re.fullmatch(r"\d+\.\d\d s", cell) is not None


def test_the_client_keeps_the_history(demos: Demos, api: StandIn) -> None:
    lines = demos.good("multi_turn_demo")
    assert spoken(lines) == TALK
    table = rows(lines)
    assert [row[1:4] for row in table] == [counted(turn) for turn in api.turns]
    assert all(int(row[4]) > 0 and is_time(row[5]) and is_time(row[6]) for row in table)
    assert all(re.fullmatch(r"\$0\.\d{4}", row[7]) for row in table)
    # What the second turn wrote to the cache is what the third one reads.
    assert int(table[2][2]) > int(table[1][2])
    cached = sum(turn.usage.cache_read_input_tokens for turn in api.turns)
    assert any(re.match(rf"In all: [\d,]+ prompt tokens, {cached:,} of them \(\d+%\) read", x) for x in lines)
    last = [role for role, _ in api.last.conversation]
    assert last == ["user", "assistant"] * 3 + ["user"]
    assert any("You are concise." in text for text in api.last.system_texts)


def test_the_server_keeps_the_session(demos: Demos, api: StandIn) -> None:
    lines = demos.good("session_demo")
    assert spoken(lines) == TALK
    table = rows(lines)
    assert [row[1] for row in table] == ["created", "resumed", "resumed", "resumed"]
    assert [row[2:5] for row in table] == [counted(turn) for turn in api.turns]
    assert int(table[2][3]) > int(table[1][3]) and is_time(table[0][5])
    assert [len(turn.conversation) for turn in api.turns] == [1, 3, 5, 7]
    command = lines[-1].split()
    assert command[:3] == ["python", "session_demo.py", "--session-id"]

    api.clear()
    lines = demos.good("session_demo", *command[2:4])
    assert spoken(lines) == TALK[2:]
    assert [row[1] for row in rows(lines)] == ["resumed"] * 3
    assert [len(turn.conversation) for turn in api.turns] == [9, 11, 13]


def test_calls_in_parallel_and_one_after_another(demos: Demos, api: StandIn) -> None:
    lines = demos.good("parallel_client_demo", "-n", "8", "--serial", "2")
    table = rows(lines)
    assert len(table) == 8
    for row, capital in zip(table, CAPITALS, strict=True):
        assert is_time(row[1]) and row[2].startswith("Name the capital of ")
        assert row[3].startswith("The capital of ") and row[3].endswith(f" is {capital}.")
    text = "\n".join(lines)
    found = re.search(
        r"In parallel: +8 calls in (\S+) s wall time\n"
        r" +\(the sum of the call times is (\S+) s\)\n"
        r"One after another: 2 calls in (\S+) s wall time\n"
        r" +\((\S+) s a call, so about (\S+) s for 8\)\n"
        r"Speed-up: +(\S+) times, as measured",
        text,
    )
    assert found, text
    wall, total, serial, each, about, ratio = map(float, found.groups())
    assert wall < total
    assert each == pytest.approx(serial / 2, abs=0.011) and about == pytest.approx(serial * 4, abs=0.021)
    assert ratio == pytest.approx(about / wall, abs=0.1)
    assert len(api.turns) == 10


def test_a_speed_up_that_is_not_measured_is_not_told(demos: Demos, api: StandIn) -> None:
    lines = demos.good("parallel_client_demo", "--calls", "1", "--serial", "0")
    assert len(rows(lines)) == 1
    assert lines[-1] == "Speed-up:          not measured, since --serial is 0"
    assert len(api.turns) == 1


def test_as_many_one_after_another_as_in_parallel(demos: Demos) -> None:
    lines = demos.good("parallel_client_demo", "--calls", "2", "--serial", "5")
    assert lines[-3].startswith("One after another: 2 calls in ")
    assert re.fullmatch(r" +\(\S+ s a call\)", lines[-2])


@pytest.mark.parametrize("name", TALKS)
def test_a_chat_that_is_typed(name: str, demos: Demos, api: StandIn) -> None:
    lines = demos.good(name, "--chat", typed="I live in Rome\nWhere do I live?\n\nnot read\n")
    assert spoken(lines) == [
        "You: I live in Rome",
        "Claude: I'm only a stand-in for Claude, so all I can say is that you said: I live in Rome",
        "You: Where do I live?",
        "Claude: You live in Rome.",
        "You: ",
    ]
    assert len(rows(lines)) == len(api.turns) == 2
    assert api.last.conversation[-1] == ("user", "Where do I live?")


@pytest.mark.parametrize("name", TALKS)
def test_a_chat_in_which_nothing_is_typed(name: str, demos: Demos, api: StandIn) -> None:
    assert demos.good(name, "--chat") == [
        "Type a message. An empty line or Ctrl-D ends the chat.",
        "",
        "You: ",
    ]
    assert api.turns == []


def test_model_and_key_reach_the_server(demos: Demos, api: StandIn) -> None:
    demos.good("multi_turn_demo", "--model", "haiku", "--api-key", "any", "--chat", typed="hi\n")
    assert "haiku" in api.last.model


@pytest.mark.parametrize("name", TALKS)
def test_a_text_to_talk_about(name: str, demos: Demos, api: StandIn, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(
        "caf\N{LATIN SMALL LETTER E WITH ACUTE} \x80".encode() + b"\xff" + b"!"
    )
    demos.good(name, "--context", "text.txt", "--chat", typed="hi\n")
    sent = "You are concise.\n\ncaf\N{LATIN SMALL LETTER E WITH ACUTE} \x80\N{REPLACEMENT CHARACTER}!"
    assert sent in api.last.system_texts


def test_a_text_that_is_not_there(lonely: Demos) -> None:
    ended = lonely.run("session_demo", "--context", "missing.txt")
    assert ended.returncode == 2
    assert ended.stderr.endswith("missing.txt can't be read: No such file or directory\n")


@pytest.mark.parametrize("name", TALKS)
def test_why_nothing_came_from_the_cache(name: str, demos: Demos, api: StandIn) -> None:
    hint = "The API caches prompts from 1,024 to 4,096 tokens on, depending on the model;"
    api.clear_cache()
    assert hint in demos.good(name, "--chat", typed="hi\n")
    assert hint not in demos.good(name, "--chat", typed="hi\n")


@pytest.mark.parametrize("name", DEMOS)
def test_no_server(name: str, lonely: Demos) -> None:
    ended = lonely.run(name)
    sentence = f"No server answers at {lonely.url}. Start one with: python claude_api.py\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", sentence)


@pytest.mark.parametrize("name", DEMOS)
def test_help(name: str, lonely: Demos) -> None:
    lines = lonely.good(name, "--help")
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "--base-url URL default: http://127.0.0.1:8765/v1" in text
    assert ("--chat" in text) == (name in TALKS)
    assert re.search(r"session_id|keeps the history|in parallel", text)


@pytest.mark.parametrize("url", ["nowhere", "http://", "ftp://x/v1", "http://[", "http://x:99999"])
def test_an_address_that_is_none(url: str, lonely: Demos) -> None:
    ended = lonely.run("multi_turn_demo", "--base-url", url)
    assert ended.returncode == 2
    assert ended.stderr.endswith(f"'{url}' is no address such as http://127.0.0.1:8765/v1\n")


@pytest.mark.parametrize("arguments", [("-n", "0"), ("-n", "many"), ("--serial", "-1")])
def test_numbers_that_are_none(arguments: tuple[str, str], lonely: Demos) -> None:
    ended = lonely.run("parallel_client_demo", *arguments)
    assert ended.returncode == 2
    assert "is not a number from" in ended.stderr


@pytest.mark.parametrize("name", DEMOS)
def test_an_error_is_told_in_the_words_of_the_server(name: str, demos: Demos, api: StandIn) -> None:
    api.responder = lambda request: ApiError.bad_request("the stand-in refuses this")
    ended = demos.run(name)
    assert ended.returncode == 1
    assert ended.stderr.startswith("The server answered with an error 400: ")
    assert "the stand-in refuses this" in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", TALKS)
def test_an_answer_that_breaks_off(name: str, demos: Demos, api: StandIn) -> None:
    words = Reply.of("These words come and then no more.")
    api.responder = lambda request: StreamError(words, chars=16)
    ended = demos.run(name)
    assert ended.returncode == 1
    assert "Claude: These words come" in ended.stdout
    assert ended.stderr.startswith("The server answered with an error: ") and ended.stderr.count("\n") == 1


@contextmanager
def server_that_goes_away() -> Iterator[str]:
    """Answers one request with half a stream; its URL."""
    half = b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\ndata: {"id"'
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            # The first connection only looks if somebody is there.
            listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(half)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread.join(PATIENCE)


@pytest.mark.parametrize("name", DEMOS)
def test_a_server_that_goes_away(name: str, lonely: Demos) -> None:
    with server_that_goes_away() as lonely.url:
        ended = lonely.run(name, *(("-n", "1") if name not in TALKS else ()))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"The server at {lonely.url} broke off: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", DEMOS)
def test_ctrl_c(name: str, demos: Demos, api: StandIn) -> None:
    api.responder = lambda request: Silence()
    with demos.start(name) as process:
        turns = api.wait_for_turns(1, PATIENCE)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (130, "\nStopped.\n")
    assert api.wait_ended(turns[0], PATIENCE) == "client_left"


@pytest.mark.parametrize("name", TALKS)
def test_who_reads_the_output_goes_away(name: str, demos: Demos) -> None:
    with demos.start(name) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("You: ")
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == ""


def controls(text: str) -> set[str]:
    return {character for character in text if unicodedata.category(character) == "Cc"} - {"\n"}


@pytest.mark.parametrize("name", DEMOS)
def test_no_control_characters_when_piped(name: str, demos: Demos, api: StandIn) -> None:
    api.responder = lambda request: Reply.of(
        "\x1b[31mred\x1b[0m\x07 \x9b2J[bold]kept[/bold] \N{GRINNING FACE}"
    )
    text = "\n".join(demos.one_turn(name))
    assert controls(text) == set()
    assert "[31mred[0m 2J[bold]kept[/bold] \N{GRINNING FACE}" in text


@pytest.mark.parametrize("name", DEMOS)
def test_an_encoding_that_has_not_all_characters(name: str, demos: Demos, api: StandIn) -> None:
    api.responder = lambda request: Reply.of("caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    demos.environment["PYTHONIOENCODING"] = "ascii"
    assert any("caf?" in line for line in demos.one_turn(name))


def test_a_proxy_in_the_environment_is_not_asked(demos: Demos) -> None:
    demos.environment |= dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:1")
    assert spoken(demos.good("session_demo"))[-1] == TALK[-1]
    assert len(rows(demos.good("parallel_client_demo", "-n", "2", "--serial", "0"))) == 2


def at_a_terminal(demos: Demos, name: str, *arguments: str) -> str:
    """What a demo writes to a terminal of 80 columns."""
    demos.environment |= {"TERM": "xterm-256color", "COLUMNS": "80"}
    ours, its = pty.openpty()
    with demos.start(name, *arguments, stdin=its, stdout=its, stderr=subprocess.STDOUT) as process:
        os.close(its)
        written = b""
        try:
            # Linux ends a terminal without writers with an error, others with nothing.
            while more := os.read(ours, 65536):
                written += more
        except OSError:
            pass
        finally:
            os.close(ours)
        assert process.wait(PATIENCE) == 0
    return written.decode()


def test_a_live_bar_at_a_terminal(demos: Demos) -> None:
    text = at_a_terminal(demos, "parallel_client_demo", "-n", "3", "--serial", "1")
    assert "in parallel" in text and "3/3" in text and "one after another" in text and "1/1" in text
    # The cursor is hidden while the bar moves, and has to come back.
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    after = re.sub(r"\x1b\[[0-9;]*m", "", text.partition("\x1b[?25h")[2])
    assert controls(after) == {"\r"}
    assert max(map(len, after.splitlines())) <= 80


def test_colours_at_a_terminal(demos: Demos, server: Server) -> None:
    text = at_a_terminal(demos, "session_demo")
    assert "\x1b[1;36mYou:\x1b[0m What is my name?" in text
    assert "\x1b[1;32mClaude:\x1b[0m Your name is Alice." in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert controls(plain) == {"\r"}
    assert rows(plain.splitlines())[0][1] == "created"
    assert f"--base-url {server.base_url}" in plain
