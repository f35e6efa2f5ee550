"""What a worker is, what a turn needs, and the way from one to the other.

The steps are run on a model of the CLI: what counts is the request that reaches the API at their end.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from claude_server.core.model import Message, Tool
from claude_server.engine.protocol.control import Expect, Step
from claude_server.engine.protocol.frames import Frame
from claude_server.engine.workers import state as state_module
from claude_server.engine.workers.state import (
    Abilities,
    WorkerConfig,
    WorkerState,
    can_serve,
    can_take_tools,
    custom_model,
    flags,
    session_steps,
    turn_steps,
)

Q1, A1 = Message("user", ("Q1",)), Message("assistant", ("A1",))
Q2, A2 = Message("user", ("Q2", "more")), Message("assistant", ("A2",))
Q3 = Message("user", ("/cost",))
ALL = Abilities(
    stream_json=True,
    inject=True,
    empty=True,
    set_model=True,
    set_system=True,
    set_flags=True,
    literal_slash=True,
    tools=True,
    swap_tools=True,
    extra_body=True,
)
BOUND = replace(ALL, swap_tools=False)
KEYED = replace(ALL, set_system=False)
# The same name and schema, told in other words; with its keys in another order; with another schema.
F, G = Tool("f", "does f", '{"a":{},"type":"object"}'), Tool("g", "", "{}")
F_TOLD, F_TURNED, F_OTHER = (
    replace(F, description="or not"),
    replace(F, schema='{"type":"object","a":{}}'),
    replace(F, schema='{"type":"object"}'),
)
# What set_model writes into the conversation, once it is done.
LEFT_BEHIND = ("user", ("/model",))


def kinds(step: Step) -> list[str]:
    """The lines of a step in short: E empties, the subtype of a control request, H an earlier user message, A
    an earlier answer, Q the question."""
    names = []
    for frame in step.frames:
        if frame["type"] == "system":
            assert frame["subtype"] == "compact_boundary"
            names.append("E")
        elif frame["type"] == "control_request":
            names.append(frame["request"]["subtype"])
        elif frame["type"] == "assistant":
            names.append("A")
        else:
            names.append("H" if frame.get("shouldQuery") is False else "Q")
    return names


def plan(made: Sequence[Step]) -> list[tuple[list[str], Expect]]:
    return [(kinds(step), step.expect) for step in made]


def request_in(step: Step, subtype: str) -> dict[str, Any]:
    (found,) = [
        frame["request"]
        for frame in step.frames
        if frame["type"] == "control_request" and frame["request"]["subtype"] == subtype
    ]
    return {name: value for name, value in found.items() if name != "subtype"}


class Cli:
    """What the facts say of a CLI: a boundary counts only while it is idle; set_model without a system prompt
    keeps the one before, without a model it takes the default; its texts are there after its answer. Under a
    name that a server had before, it finds that one's tools; a tool of a name and schema that it knows, it
    goes on telling of as it did. With `keeps` it never lets go of a tool that it was given."""

    def __init__(
        self, now: WorkerConfig, said: Sequence[tuple[str, tuple[str, ...]]], *, keeps: bool = False
    ) -> None:
        self.model = now.model
        self.system = now.system
        self.effort = now.effort
        self.environment = dict(now.environment)
        self.said = list(said)
        self.asked: list[tuple[str, tuple[str, ...]]] | None = None
        self.tools: list[Tool] = []
        self._keeps = keeps
        self._servers: dict[str, tuple[Tool, ...]] = {}
        self._told: dict[tuple[str, object], Tool] = {}
        if now.tools:
            self._serve("f0", now.tools)

    def _serve(self, name: str, tools: tuple[Tool, ...]) -> None:
        listed = self._servers.setdefault(name, tools)
        keys = [(tool.name, str(sorted(json.loads(tool.schema).items()))) for tool in listed]
        self.tools += [self._told.setdefault(key, tool) for key, tool in zip(keys, listed, strict=True)]

    @property
    def listed_to_api(self) -> list[object]:
        """The tools in its request."""
        body = json.loads(self.environment["CLAUDE_CODE_EXTRA_BODY"] or "{}")
        listed: list[object] = body.get("tools", [{"of the CLI": tool.name} for tool in self.tools])
        return listed

    def run(self, step: Step, tools: tuple[Tool, ...]) -> None:
        """`tools` are listed when it asks."""
        left_behind = False
        self._offered = tools
        assert self.asked is None, "nothing is said after the question"
        for number, frame in enumerate(step.frames):
            if frame["type"] == "system":
                assert number == 0, "a boundary counts only while the process is idle"
                self.said.clear()
            elif frame["type"] == "control_request":
                assert step.expect is Expect.ACKS
                left_behind |= self._controlled(frame["request"])
            else:
                self._line(frame)
        if left_behind:
            self.said.append(LEFT_BEHIND)

    def _controlled(self, request: Frame) -> bool:
        if request["subtype"] == "set_model":
            assert request.get("model", "") is not None
            assert request.get("system_prompt") != ""
            self.model = request.get("model")
            self.system = request.get("system_prompt", self.system)
            return True
        if request["subtype"] == "mcp_set_servers":
            self.tools = self.tools if self._keeps else []
            for name, server in request["servers"].items():
                assert server == {"type": "sdk", "name": name}
                self._serve(name, self._offered)
            return False
        assert request["subtype"] == "apply_flag_settings"
        self.effort = request["settings"]["effortLevel"]
        self.environment.update(request["settings"]["env"])
        return False

    def _line(self, frame: Frame) -> None:
        texts = tuple(block["text"] for block in frame["message"]["content"])
        self.said.append((frame["type"], texts))
        if frame["type"] == "user" and frame.get("shouldQuery") is not False:
            self.asked = list(self.said)


def told(messages: Sequence[Message]) -> list[tuple[str, tuple[str, ...]]]:
    """Messages as they reach the API."""
    return [
        (
            m.role,
            tuple(" " + t if t.startswith("/") and m.role == "user" else t for t in m.texts),
        )
        for m in messages
    ]


def answers_fit(made: Sequence[Step]) -> None:
    """Each step waits for what its lines bring about, and one user line is outstanding at most."""
    for step in made:
        users = [name for name in kinds(step) if name in "HQ"]
        assert len(users) <= 1
        expected = {(): Expect.ACKS, ("H",): Expect.INJECTED, ("Q",): Expect.TURN}[tuple(users)]
        assert step.expect is expected
    assert [step.expect for step in made].count(Expect.TURN) == 1
    assert made[-1].expect is Expect.TURN


# From one state to another


def test_a_fresh_worker_that_is_right_is_asked_at_once() -> None:
    assert plan(turn_steps(WorkerState(), WorkerConfig(), (), Q1)) == [(["Q"], Expect.TURN)]


def test_a_fresh_worker_is_told_the_history_without_being_emptied() -> None:
    assert plan(turn_steps(WorkerState(), WorkerConfig(), (Q1, A1, Q2, A2), Q3)) == [
        (["H"], Expect.INJECTED),
        (["A", "H"], Expect.INJECTED),
        (["A", "Q"], Expect.TURN),
    ]


NOW = WorkerConfig("sonnet", "Be kind.", "low", 100, False, (F,), '{"top_p":0.5}')


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (replace(NOW, model="opus"), ["set_model"]),
        (replace(NOW, model=None), ["set_model"]),
        (replace(NOW, system="Be brief."), ["set_model"]),
        (replace(NOW, effort=None), ["apply_flag_settings"]),
        (replace(NOW, effort="high"), ["apply_flag_settings"]),
        (replace(NOW, max_output_tokens=None), ["apply_flag_settings"]),
        (replace(NOW, max_output_tokens=101), ["apply_flag_settings"]),
        (replace(NOW, thinking=True), ["apply_flag_settings"]),
        (replace(NOW, body=""), ["apply_flag_settings"]),
        (replace(NOW, tools=()), ["mcp_set_servers"]),
        (replace(NOW, tools=(F, G)), ["mcp_set_servers"]),
        (replace(NOW, body="", tools=(G,)), ["apply_flag_settings", "mcp_set_servers"]),
        (replace(NOW, model="opus", thinking=True), ["set_model", "apply_flag_settings"]),
        (WorkerConfig("opus", "Be brief."), ["set_model", "apply_flag_settings", "mcp_set_servers"]),
    ],
)
def test_what_differs_is_set_in_one_write_of_its_own(config: WorkerConfig, said: list[str]) -> None:
    """A boundary in the write of set_model would come before the texts that set_model leaves behind."""
    made = turn_steps(WorkerState(current=NOW), config, (Q1, A1), Q2)
    assert plan(made) == [
        (["E", *said], Expect.ACKS),
        (["E", "H"], Expect.INJECTED),
        (["A", "Q"], Expect.TURN),
    ]
    assert made[0].request_ids == {f["request_id"] for f in made[0].frames if f["type"] == "control_request"}


def test_without_history_the_question_follows_the_second_boundary() -> None:
    made = turn_steps(WorkerState(), WorkerConfig(system="S"), (), Q1)
    assert plan(made) == [(["E", "set_model"], Expect.ACKS), (["E", "Q"], Expect.TURN)]


def test_only_the_conversation_differs() -> None:
    made = turn_steps(WorkerState(current=NOW, messages=(Q2, A2)), NOW, (Q1, A1), Q2)
    assert plan(made) == [(["E", "H"], Expect.INJECTED), (["A", "Q"], Expect.TURN)]


def test_no_history_after_some_conversation() -> None:
    made = turn_steps(WorkerState(current=NOW, messages=(Q2, A2)), NOW, (), Q2)
    assert plan(made) == [(["E", "Q"], Expect.TURN)]


@pytest.mark.parametrize("history", [(), (Q1, A1)])
def test_what_cannot_be_told_any_more_is_emptied(history: tuple[Message, ...]) -> None:
    first, *_ = turn_steps(WorkerState(current=NOW, messages=None), NOW, history, Q2)
    assert kinds(first)[0] == "E"


def test_a_worker_that_holds_the_conversation_is_asked_at_once() -> None:
    held = WorkerState(current=NOW, messages=(Q1, A1), continues_tools=True)
    assert held.holds(NOW, (Q1, A1))
    made = turn_steps(held, NOW, (Q1, A1), Q2)
    assert plan(made) == [(["Q"], Expect.TURN)]
    # As a list too: it comes from a request.
    assert held.holds(NOW, [Q1, A1])


@pytest.mark.parametrize(
    ("state", "config", "history"),
    [
        (WorkerState(NOW, None, (Q1, A1)), replace(NOW, system="Be brief."), (Q1, A1)),
        (WorkerState(NOW, None, (Q1, A1)), replace(NOW, tools=()), (Q1, A1)),
        (WorkerState(NOW, None, (Q1, A1)), replace(NOW, model=None), (Q1, A1)),
        (WorkerState(NOW, None, (Q1, A1)), NOW, (Q1, A2)),
        (WorkerState(NOW, None, (Q1, A1)), NOW, (Q1,)),
        (WorkerState(NOW, None, (Q1, A1)), NOW, ()),
        (WorkerState(NOW, None, None), NOW, (Q1, A1)),
        (WorkerState(NOW, None, ()), NOW, ()),
    ],
)
def test_what_is_not_holding_the_conversation(
    state: WorkerState, config: WorkerConfig, history: tuple[Message, ...]
) -> None:
    assert not replace(state, continues_tools=True).holds(config, history)


@pytest.mark.parametrize(
    "change",
    [{"effort": "high"}, {"max_output_tokens": 7}, {"thinking": True}, {"body": ""}],
)
def test_a_conversation_goes_on_under_other_limits(change: dict[str, Any]) -> None:
    held = WorkerState(current=NOW, messages=(Q1, A1), continues_tools=True)
    made = turn_steps(held, replace(NOW, **change), (Q1, A1), Q2)
    assert plan(made) == [(["apply_flag_settings"], Expect.ACKS), (["Q"], Expect.TURN)]


def test_where_the_date_moves_a_conversation_with_tools_is_injected_each_time() -> None:
    """After a call it is injected in any case, and must begin like the requests before."""
    assert not WorkerState(current=NOW, messages=(Q1, A1)).holds(NOW, (Q1, A1))
    no_tools = replace(NOW, tools=())
    assert WorkerState(current=no_tools, messages=(Q1, A1)).holds(no_tools, (Q1, A1))


def test_a_text_in_other_parts_is_another_conversation() -> None:
    # It reaches the API in other blocks.
    joined = Message("user", ("Q2\nmore",))
    assert not WorkerState(messages=(Q2, A2)).holds(WorkerConfig(), (joined, A2))


def test_set_model_says_both() -> None:
    """The system prompt is named with each model: without it set_model would leave other texts."""
    for config in (replace(NOW, model="opus"), replace(NOW, system="Be brief.")):
        first, *_ = turn_steps(WorkerState(current=NOW), config, (), Q1)
        assert request_in(first, "set_model") == {"model": config.model, "system_prompt": config.system}


def test_the_default_model_is_set_by_naming_none() -> None:
    first, *_ = turn_steps(WorkerState(current=NOW), replace(NOW, model=None), (), Q1)
    assert request_in(first, "set_model") == {"system_prompt": "Be kind."}


def test_no_system_prompt_is_set_where_there_was_none() -> None:
    first, *_ = turn_steps(WorkerState(), WorkerConfig("opus"), (), Q1)
    assert request_in(first, "set_model") == {"model": "opus"}


@pytest.mark.parametrize(
    ("config", "limit", "thinking", "effort"),
    [
        (WorkerConfig(), "", "", None),
        (WorkerConfig(long_cache=True), "", "", None),
        (WorkerConfig(effort="high", max_output_tokens=1), "1", "", "high"),
        (WorkerConfig(max_output_tokens=64000, thinking=False), "64000", "1", None),
        (WorkerConfig(thinking=False), "", "1", None),
        (WorkerConfig(body='{"top_p":0.5}'), "", "", None),
    ],
)
def test_all_flags_are_named_each_time(
    config: WorkerConfig, limit: str, thinking: str, effort: str | None
) -> None:
    env = {
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": limit,
        "CLAUDE_CODE_DISABLE_THINKING": thinking,
        "CLAUDE_CODE_EXTRA_BODY": config.body,
        "CLAUDE_CODE_PROMPT_CACHE_TTL": "1h" if config.long_cache else "",
        "ENABLE_PROMPT_CACHING_1H": "1" if config.long_cache else "",
    }
    request = flags(config)["request"]
    assert request == {
        "subtype": "apply_flag_settings",
        "settings": {"env": env, "effortLevel": effort},
    }
    assert config.environment == env


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        # None at first, then some, none, others, and the first ones again.
        ([(), (F,), (), (G,), (F,)], ["f0", None, "f1", "f2"]),
        # Those of the greeting have the first name.
        ([(F,), (G,), (F, G)], ["f1", "f2"]),
    ],
)
def test_each_server_of_tools_has_a_name_of_its_own(
    rows: list[tuple[Tool, ...]], names: list[str | None]
) -> None:
    """Under an old one it might find its old tools."""
    worker = WorkerState.initialized(WorkerConfig(tools=rows[0]), None)
    given: list[str | None] = []
    for tools in rows[1:]:
        (first, *_) = turn_steps(worker, WorkerConfig(tools=tools), (), Q1)
        servers = request_in(first, "mcp_set_servers")["servers"]
        given.append(next(iter(servers), None))
        assert servers == ({name: {"type": "sdk", "name": name} for name in servers} if tools else {})
        worker = worker.after(WorkerConfig(tools=tools), None)
    assert given == names


@pytest.mark.parametrize(
    ("had", "needs", "swaps", "bound"),
    [
        ([()], (), True, True),
        ([()], (F,), True, True),
        ([(F,)], (F,), True, True),
        ([(F,)], (G,), True, False),
        ([(F,)], (), True, False),
        ([(F,), ()], (), True, True),
        ([(F,), ()], (F,), True, False),
        # It would go on telling the API of it in the words that it was first told.
        ([(F,)], (F_TOLD,), False, False),
        ([(F,)], (F_TURNED,), False, False),
        ([(F,), (), (G,)], (F_TOLD, G), False, False),
        ([(F,), (G,)], (F, G), True, False),
        ([(F,)], (F_OTHER,), True, False),
        ([(F,), (F_OTHER,)], (F_TOLD,), False, False),
    ],
)
def test_which_tools_a_worker_takes(
    had: list[tuple[Tool, ...]], needs: tuple[Tool, ...], swaps: bool, bound: bool
) -> None:
    """With a CLI that can swap them, and with one that keeps what it was given."""
    worker = WorkerState.initialized(WorkerConfig(tools=had[0]), None)
    for tools in had[1:]:
        worker = worker.after(WorkerConfig(tools=tools), None)
    for abilities, takes in ((ALL, swaps), (BOUND, bound)):
        assert can_take_tools(worker, WorkerConfig(tools=needs), abilities) is takes
        assert can_serve(worker, WorkerConfig(tools=needs), None, abilities) is takes


def test_the_state_after_the_greeting() -> None:
    """It holds the model, the system prompt and the tools; the rest is told later."""
    made = WorkerState.initialized(WorkerConfig("m", "S", "high", 5, False, (F,), "{}"), "x")
    assert made.current == WorkerConfig("m", "S", tools=(F,))
    assert (made.custom_model, made.messages, made.servers) == ("x", (), 1)
    assert WorkerState.initialized(WorkerConfig("m"), None) == WorkerState(WorkerConfig("m"))


# Any way


texts = st.lists(st.sampled_from(["a", "b", "/c", "d\n/e"]), min_size=1, max_size=2).map(tuple)
turns = st.lists(st.tuples(texts, texts), max_size=3)


def conversation_of(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> tuple[Message, ...]:
    return tuple(
        itertools.chain.from_iterable((Message("user", q), Message("assistant", a)) for q, a in pairs)
    )


histories = turns.map(conversation_of)
needs = st.builds(
    WorkerConfig,
    model=st.sampled_from([None, "sonnet", "opus"]),
    system=st.sampled_from(["", "S", "T"]),
    effort=st.sampled_from([None, "low", "high"]),
    max_output_tokens=st.sampled_from([None, 1, 777]),
    thinking=st.booleans(),
    tools=st.sampled_from([(), (F,), (G,), (F, G), (F_TOLD,), (F_TURNED, G), (F_OTHER,)]),
    body=st.sampled_from(["", '{"top_p":0.5}']),
)
states = st.builds(
    lambda now, messages, stable: WorkerState.initialized(now, None, continues_tools=stable).after(
        now, messages
    ),
    needs,
    st.one_of(st.none(), st.just(()), histories),
    st.booleans(),
)


_TOLD = [(["apply_flag_settings"], Expect.ACKS)]


@settings(max_examples=300, deadline=None)
@given(state=states, wanted=st.lists(st.tuples(needs, histories, texts, texts, st.booleans()), max_size=3))
def test_any_row_of_turns_reaches_the_api_as_if_each_were_alone(
    state: WorkerState, wanted: list[Any]
) -> None:
    """One worker, turn after turn, some of them the next one of the conversation that it holds."""
    unknown = [("user", ("nobody knows",)), ("assistant", ("what it holds",))]
    cli = Cli(state.current, unknown if state.messages is None else told(state.messages))
    for config, history, asked, answer, goes_on in wanted:
        if goes_on and state.messages:
            # Under other limits, maybe.
            now = state.current
            config = replace(config, model=now.model, system=now.system, tools=now.tools)
            history = state.messages
        if not can_serve(state, config, None, ALL):
            continue
        question = Message("user", asked)
        made = turn_steps(state, config, history, question)
        answers_fit(made)
        if state.holds(config, history):
            assert plan(made) in ([(["Q"], Expect.TURN)], [*_TOLD, (["Q"], Expect.TURN)])
        for step in made:
            cli.run(step, config.tools)
        assert cli.asked == told([*history, question])
        assert cli.tools == list(config.tools)
        assert (cli.model, cli.system) == (config.model, config.system)
        assert (cli.effort, cli.environment) == (config.effort, config.environment)
        answered = (*history, question, Message("assistant", answer))
        cli.said.append(("assistant", answer))
        cli.asked = None
        state = state.after(config, answered)
        assert state.holds(config, answered) == (state.continues_tools or not config.tools)
        assert not state.after(config, None).holds(config, answered)


HUGE = tuple(Tool(f"f{number}", "", "{}") for number in range(511))


@settings(max_examples=200, deadline=None)
@given(
    first=needs,
    rows=st.lists(st.one_of(needs, st.just(WorkerConfig(tools=HUGE))), max_size=5),
    greeted=st.booleans(),
    keeps=st.booleans(),
)
def test_the_tools_in_the_body_are_those_of_the_turn(
    first: WorkerConfig, rows: list[WorkerConfig], greeted: bool, keeps: bool
) -> None:
    """Whatever the process was given before, and keeps. It knows their names, so that it waits at a call."""
    # As one that was told of its first tools by its greeting, or one that was kept ready without any.
    begun = replace(first, tools=first.tools if greeted else ())
    state = WorkerState.initialized(begun, None, tools_in_body=True)
    cli = Cli(WorkerConfig(first.model, first.system, tools=state.listed(begun)), [], keeps=keeps)
    for config in (first, *rows):
        if not can_serve(state, config, None, replace(BOUND, tools_in_body=True)):
            continue
        assert can_take_tools(state, config, BOUND)
        servers = state.servers
        for step in turn_steps(state, config, (), Q1):
            cli.run(step, state.listed(config))
        cli.asked = None
        known = {tool.name for tool in cli.tools}
        assert {tool.name for tool in config.tools} <= known
        assert cli.listed_to_api == json.loads(config.body_with_tools)["tools"]
        had = state.known
        state = state.after(config, None)
        assert len(state.known) <= 512
        if {tool.name for tool in config.tools} <= had:
            assert state.servers == servers


def test_a_tool_in_the_body_is_as_the_caller_gave_it() -> None:
    tool = Tool("f", "d" * 10_000, '{"type":"object","properties":{"x":{"pattern":"\\\\d"}}}', strict=True)
    (made,) = json.loads(WorkerConfig(tools=(tool,), body='{"top_p":1}').body_with_tools)["tools"]
    assert made == {
        "name": "f",
        "description": "d" * 10_000,
        "input_schema": json.loads(tool.schema),
        "strict": True,
    }
    (bare,) = json.loads(WorkerConfig(tools=(G,)).body_with_tools)["tools"]
    assert bare == {"name": "g", "input_schema": {}}


@settings(max_examples=100, deadline=None)
@given(state=states, config=needs, history=histories, asked=texts)
def test_a_turn_of_a_session_adds_to_its_conversation(
    state: WorkerState, config: WorkerConfig, history: tuple[Message, ...], asked: tuple[str, ...]
) -> None:
    config = replace(config, model=state.current.model, system=state.current.system)
    assume(can_take_tools(state, config, ALL))
    held = told(state.messages or ())
    cli = Cli(state.current, held)
    made = session_steps(state, config, history, Message("user", asked))
    answers_fit(made)
    for step in made:
        assert "E" not in kinds(step)
        cli.run(step, config.tools)
    assert cli.tools == list(config.tools)
    assert cli.asked == [*held, *told([*history, Message("user", asked)])]
    assert (cli.effort, cli.environment) == (config.effort, config.environment)


def test_a_sessions_next_turn() -> None:
    held = WorkerState(current=NOW, messages=None)
    assert plan(session_steps(held, NOW, (), Q2)) == [(["Q"], Expect.TURN)]
    assert plan(session_steps(held, replace(NOW, effort="high"), (), Q2)) == [
        (["apply_flag_settings"], Expect.ACKS),
        (["Q"], Expect.TURN),
    ]


def test_a_sessions_first_turn_brings_its_history() -> None:
    made = session_steps(
        WorkerState(WorkerConfig("sonnet", "S")), WorkerConfig("sonnet", "S", "low"), (Q1, A1), Q2
    )
    assert plan(made) == [
        (["apply_flag_settings"], Expect.ACKS),
        (["H"], Expect.INJECTED),
        (["A", "Q"], Expect.TURN),
    ]


def test_the_state_after_a_turn() -> None:
    before = WorkerState(current=NOW, custom_model="x", messages=(), servers=1)
    assert before.after(WorkerConfig(), (Q1, A1)) == WorkerState(WorkerConfig(), "x", (Q1, A1), 1)
    assert before.after(NOW, None) == WorkerState(NOW, "x", None, 1)
    assert before == WorkerState(current=NOW, custom_model="x", messages=(), servers=1)


# Who can serve what


@pytest.mark.parametrize(
    ("has", "wants", "can"),
    [
        (WorkerConfig(), WorkerConfig(), True),
        (WorkerConfig(), WorkerConfig("opus", "S", "high", 5, False), True),
        (WorkerConfig("opus", "S"), WorkerConfig("sonnet", "T"), True),
        (WorkerConfig("opus", "S"), WorkerConfig(None, "S"), True),
        # A system prompt can't be taken away.
        (WorkerConfig(system="S"), WorkerConfig(), False),
        (WorkerConfig("opus", "S"), WorkerConfig("opus"), False),
    ],
)
def test_who_can_serve_when_all_can_be_set(has: WorkerConfig, wants: WorkerConfig, can: bool) -> None:
    assert can_serve(WorkerState(current=has), wants, None, ALL) is can


@pytest.mark.parametrize(
    ("has", "wants", "can"),
    [
        (WorkerConfig(), WorkerConfig(), True),
        (WorkerConfig("opus", "S"), WorkerConfig("opus", "S"), True),
        (WorkerConfig("opus", "S", "low", 5, False), WorkerConfig("opus", "S", "high"), True),
        (WorkerConfig("opus", "S"), WorkerConfig("opus", "T"), False),
        (WorkerConfig("opus", "S"), WorkerConfig(None, "S"), True),
        (WorkerConfig("opus"), WorkerConfig("sonnet"), True),
        (WorkerConfig(), WorkerConfig("opus"), True),
        (WorkerConfig(), WorkerConfig(system="S"), False),
        (WorkerConfig("opus", "S"), WorkerConfig("opus"), False),
    ],
)
def test_who_can_serve_when_workers_are_kept_by_their_prompt(
    has: WorkerConfig, wants: WorkerConfig, can: bool
) -> None:
    assert can_serve(WorkerState(current=has), wants, None, KEYED) is can


@pytest.mark.parametrize("abilities", [ALL, KEYED])
@pytest.mark.parametrize("own", [None, "x", "y"])
@pytest.mark.parametrize("custom", [None, "x", "y"])
def test_an_unlisted_model_needs_a_worker_of_its_own(
    abilities: Abilities, own: str | None, custom: str | None
) -> None:
    assert can_serve(WorkerState(custom_model=own), WorkerConfig(), custom, abilities) is (own == custom)


def test_a_conversation_never_hinders() -> None:
    for messages in ((), (Q1, A1), None):
        assert can_serve(WorkerState(messages=messages), WorkerConfig("opus", "S"), None, ALL)


@pytest.mark.parametrize(
    ("model", "probes", "expected"),
    [
        ("claude-new-1", True, "claude-new-1"),
        ("claude-new-1", False, None),
        ("sonnet", True, None),
        ("sonnet", False, None),
        (None, True, None),
        (None, False, None),
    ],
)
def test_which_models_are_unlisted(model: str | None, probes: bool, expected: str | None) -> None:
    listed = frozenset({"sonnet", "claude-sonnet-4-5"})
    assert custom_model(model, listed, Abilities(probes_models=probes)) == expected


# The level


@pytest.mark.parametrize("off", ["probes_models", "single_400", None])
def test_with_all_of_it_workers_are_warm(off: str | None) -> None:
    every = Abilities(**{field.name: True for field in fields(Abilities)})
    assert (replace(every, **{off: False}) if off else every).level == "warm"


@pytest.mark.parametrize(
    ("missing", "level"),
    [
        ({"set_system"}, "keyed"),
        ({"set_flags"}, "spawn"),
        ({"set_model"}, "spawn"),
        ({"set_model", "set_system"}, "spawn"),
        ({"empty"}, "spawn"),
        ({"empty", "set_flags", "set_system"}, "spawn"),
        ({"inject"}, "text"),
        ({"inject", "empty", "set_flags", "set_system"}, "text"),
        ({"literal_slash"}, "plain"),
        ({"stream_json"}, "plain"),
        ({field.name for field in fields(Abilities)}, "plain"),
    ],
)
def test_the_level_falls_back_step_by_step(missing: set[str], level: str) -> None:
    has = {field.name: field.name not in missing for field in fields(Abilities)}
    assert Abilities(**has).level == level


def test_a_cli_of_which_nothing_is_known_can_do_nothing() -> None:
    assert Abilities().level == "plain"


def test_a_huge_schema_is_not_kept() -> None:
    """It is told apart from others all the same, and goes with its request."""
    state_module._cached_canonical_json.cache_clear()
    for size in (10, 1_000_000):
        one, other = (Tool("f", "", json.dumps({"title": "x" * size, "description": d})) for d in "ab")
        held = WorkerState().after(WorkerConfig(tools=(one,)), None)
        assert can_take_tools(held, WorkerConfig(tools=(replace(one),)), ALL)
        assert not can_take_tools(held, WorkerConfig(tools=(replace(one, description="new"),)), ALL)
        assert can_take_tools(held, WorkerConfig(tools=(other,)), ALL)
    assert state_module._cached_canonical_json.cache_info().currsize == 2
