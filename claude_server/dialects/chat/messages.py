"""The messages of a chat as a system prompt and a conversation. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from claude_server.core import strict_json
from claude_server.core.calls import orphan
from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import NO_RESULT, Block, Document, Image, Message, Role, ToolResult, ToolUse
from claude_server.dialects import media
from claude_server.dialects.chat import wire as chat

# The API knows no name of a user; what it says is told in front of the text, as people do.
_NAMED = "{name}: {text}"
# A system message that comes later: the API has none inside a conversation.
_LATER_SYSTEM = "<system-message>\n{text}\n</system-message>"
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")
SYSTEM_ROLES = frozenset({"system", "developer"})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_Content = str | Image | Document
_IMAGES_OFF = "Images are taken as data URLs only; to have others fetched, set CLAUDE_FETCH_IMAGES=on."


def remote_images(messages: Sequence[chat.ChatMessage]) -> dict[str, str]:
    """The http(s) URLs of images in a chat, and where each is first."""
    found: dict[str, str] = {}
    for index, message in enumerate(messages):
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            url = _url(part)
            if url is not None and _remote(url):
                found.setdefault(url, f"messages[{index}].content[{number}].image_url")
    return found


def split(
    messages: Sequence[chat.ChatMessage], fetched: Mapping[str, Image], *, session: bool = False
) -> tuple[str, list[Message]]:
    """The system prompt, and the conversation with neighbours of one role merged, as the API wants it.

    The system messages that come first are the prompt. A later one keeps its place, as marked text of the
    user's: so the prompt stays the same from turn to turn, and is found in the API's cache.
    `fetched`: the images at the remote URLs. `session`: calls that aren't here may be in the session.
    Raises InvalidRequest or UnsupportedParameter with `param`.
    """
    system: list[str] = []
    talk = _Conversation(session)
    begun = False
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        blocks = [block for block in _blocks(message, where, fetched) if not is_blank(block)]
        leads = not begun and message.role in SYSTEM_ROLES
        begun = not leads
        if message.role in SYSTEM_ROLES:
            texts = [_named(message, text) for text in _only_texts(blocks, where)]
            if leads:
                system += texts
            elif texts:
                talk.note(_LATER_SYSTEM.format(text="\n\n".join(texts)))
        elif message.role == "assistant":
            talk.assistant(_only_texts(blocks, where), _calls(message))
        elif message.role in ("tool", "function"):
            name = message.tool_call_id if message.role == "tool" else message.name
            talk.result(name or "", tuple(blocks))
        elif blocks:
            talk.user([_named(message, b) if isinstance(b, str) else b for b in blocks])
    return "\n\n".join(system), talk.messages()


def has_later_system(messages: Sequence[chat.ChatMessage]) -> bool:
    """Is there a system message after one of another role?"""
    roles = [message.role in SYSTEM_ROLES for message in messages]
    return False in roles and True in roles[roles.index(False) :]


class _Conversation:
    """Merges neighbours of one role, and sees to it that each call has its result right after it."""

    def __init__(self, session: bool) -> None:
        self._session = session
        self._messages: list[tuple[Role, list[Block]]] = []
        # The ids that the API gets for the calls that have no result yet, in order, ...
        self._open: dict[str, None] = {}
        # ... and those of the last calls by what a result may name: the client's id, or the function.
        self._named: defaultdict[str, deque[str]] = defaultdict(deque)
        # Notes that came between calls and their results: those must follow at once.
        self._held: list[str] = []
        self._ids: set[str] = set()
        self._repeats: Counter[str] = Counter()

    def user(self, blocks: Sequence[Block]) -> None:
        self._add("user", blocks)

    def note(self, text: str) -> None:
        """A system message in the middle; one between calls and their results comes after these."""
        if self._open and self._messages[-1][0] == "assistant":
            self._held.append(text)
        else:
            self._add("user", [text])

    def assistant(self, texts: Sequence[str], calls: Sequence[chat.ToolCall]) -> None:
        if not texts and not calls:
            return
        if self._messages and self._messages[-1][0] == "user":
            # Not between the parts of one answer: some clients send each call by itself, all results after.
            self._close()
        uses = []
        for call in calls:
            ours = self._fresh_id(call.id)
            self._open[ours] = None
            for name in {call.id, call.function.name}:
                self._named[name].append(ours)
            uses.append(ToolUse(ours, call.function.name, _arguments(call.function.arguments)))
        self._add("assistant", [*texts, *uses])

    def result(self, name: str, blocks: tuple[_Content, ...]) -> None:
        """A result, by the call's id, or by the function's name."""
        waiting = self._named[name]
        while waiting:
            ours = waiting.popleft()
            if ours in self._open:
                del self._open[ours]
                self._add("user", [ToolResult(ours, blocks)])
                return
        if self._session:
            self._add("user", [ToolResult(_allowed(name), blocks)])
            return
        self._add("user", orphan(name, blocks))

    def messages(self) -> list[Message]:
        self._close()
        # The API wants the results before what else a message holds.
        return [
            Message(role, tuple(sorted(blocks, key=lambda block: not isinstance(block, ToolResult))))
            for role, blocks in self._messages
        ]

    def _add(self, role: Role, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        if self._messages and self._messages[-1][0] == role:
            self._messages[-1][1].extend(blocks)
        else:
            self._messages.append((role, list(blocks)))
        if role == "user" and self._held:
            self._messages[-1][1].extend(self._held)
            self._held.clear()

    def _close(self) -> None:
        """Before the next answer, or at the end: what still has no result gets one that says so."""
        self._add("user", [ToolResult(ours, (NO_RESULT,)) for ours in self._open])
        self._open.clear()
        self._named.clear()

    def _fresh_id(self, wanted: str) -> str:
        """An id as the API takes it; some clients begin anew with each answer."""
        base = _allowed(wanted)
        ours = base
        while ours in self._ids:
            self._repeats[base] += 1
            ours = f"{base}_{self._repeats[base] + 1}"
        self._ids.add(ours)
        return ours


def _allowed(id: str) -> str:
    return _NOT_IN_AN_ID.sub("_", id)[:64] or "call"


def _blocks(message: chat.ChatMessage, where: str, fetched: Mapping[str, Image]) -> Iterator[_Content]:
    if isinstance(message.content, str):
        yield message.content
    for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
        if part.type in _THOUGHTS and message.role == "assistant":
            # Some clients send it back. The CLI would drop it: it is for the model that is still at it.
            continue
        yield _part(part, f"{where}.content[{number}]", fetched)
    if message.refusal is not None:
        yield message.refusal


def _part(part: chat.ContentPart, place: str, fetched: Mapping[str, Image]) -> _Content:
    if part.type == "image_url":
        return _image(part, f"{place}.image_url", fetched)
    if part.type == "file":
        return _file(part, f"{place}.file")
    if part.type not in ("text", "refusal"):
        raise UnsupportedParameter(f"Content parts of type '{part.type}' are not supported.", param=place)
    text = part.text if part.type == "text" else part.refusal
    if text is None:
        raise InvalidRequest(f"A part of type '{part.type}' needs '{part.type}'.", param=place)
    return text


def _url(part: chat.ContentPart) -> str | None:
    given = part.image_url if part.type == "image_url" else None
    return given.url if isinstance(given, chat.ImageUrl) else given


def _remote(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _image(part: chat.ContentPart, place: str, fetched: Mapping[str, Image]) -> Image:
    url = _url(part)
    if url is None:
        raise InvalidRequest("A part of type 'image_url' needs 'image_url'.", param=place)
    if _remote(url):
        if url not in fetched:
            raise UnsupportedParameter(_IMAGES_OFF, param=place)
        return fetched[url]
    return media.image(media.data_url(url, place)[1], place)


def _file(part: chat.ContentPart, place: str) -> Document:
    file = part.file
    if file is None or (file.file_data is None and file.file_id is None):
        raise InvalidRequest("A part of type 'file' needs 'file' with 'file_data'.", param=place)
    if file.file_data is None:
        raise UnsupportedParameter("There are no stored files here: send 'file_data'.", param=place)
    return media.document(file.file_data, file.filename, f"{place}.file_data")


def _only_texts(blocks: Sequence[_Content], where: str) -> list[str]:
    for block in blocks:
        if not isinstance(block, str):
            raise UnsupportedParameter("Images and files belong in user messages.", param=where)
    return cast("list[str]", blocks)


def _calls(message: chat.ChatMessage) -> list[chat.ToolCall]:
    calls = list(message.tool_calls or ())
    if message.function_call is not None:
        # It has no id; the one it gets here is found again by the function's name.
        calls.append(chat.ToolCall(id=f"call_{message.function_call.name}", function=message.function_call))
    return calls


def _arguments(text: str) -> dict[str, Any]:
    """What a model once wrote as arguments: nearly always an object."""
    try:
        value = strict_json.loads(text or "{}")
    except strict_json.NotStrictJson:
        value = text
    return value if isinstance(value, dict) else {"arguments": value}


def _named(message: chat.ChatMessage, text: str) -> str:
    return _NAMED.format(name=message.name, text=text) if message.name else text


def is_blank(block: Block) -> bool:
    """Is it a text that nobody sees?"""
    # For the CLI a byte order mark is white space too: it would put "(no content)" there, or drop an answer.
    return isinstance(block, str) and not block.replace("\ufeff", "").strip()
