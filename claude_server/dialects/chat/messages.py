"""The messages of a chat as a system prompt and a conversation. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import Document, Image, Message
from claude_server.dialects import media
from claude_server.dialects.chat import anthropic
from claude_server.dialects.chat import wire as chat
from claude_server.dialects.chat.reasoning import is_thought, thoughts_of
from claude_server.dialects.conversation import Call, Content, Conversation, is_blank

# The API knows no name of a user; what it says is told in front of the text, as people do.
_NAMED = "{name}: {text}"
SYSTEM_ROLES = frozenset({"system", "developer"})
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
    talk = Conversation(session)
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
                talk.note("\n\n".join(texts))
        elif message.role == "assistant":
            for thought in thoughts_of(message):
                talk.thought(thought)
            calls = [*_calls(message), *anthropic.calls(message, where)]
            talk.assistant(_only_texts(blocks, where), calls)
        elif message.role in ("tool", "function"):
            name = message.tool_call_id if message.role == "tool" else message.name
            talk.result(name or "", tuple(blocks))
        else:
            for name, content, failed in anthropic.results(message, where):
                talk.result(name, content, failed=failed)
            talk.user([_named(message, b) if isinstance(b, str) else b for b in blocks])
    return "\n\n".join(system), talk.messages()


def has_later_system(messages: Sequence[chat.ChatMessage]) -> bool:
    """Is there a system message after one of another role?"""
    roles = [message.role in SYSTEM_ROLES for message in messages]
    return False in roles and True in roles[roles.index(False) :]


def _blocks(message: chat.ChatMessage, where: str, fetched: Mapping[str, Image]) -> Iterator[Content]:
    if isinstance(message.content, str):
        yield message.content
    for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
        if is_thought(part) and message.role == "assistant":
            continue
        if part.type == anthropic.BESIDE_TEXT.get(message.role):
            continue
        yield _part(part, f"{where}.content[{number}]", fetched)
    if message.refusal is not None:
        yield message.refusal


def _part(part: chat.ContentPart, place: str, fetched: Mapping[str, Image]) -> Content:
    if part.type == "image_url":
        return _image(part, f"{place}.image_url", fetched)
    if part.type == "file":
        return _file(part, f"{place}.file")
    if part.type in anthropic.SOURCES:
        return anthropic.source(part, place)
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


def _only_texts(blocks: Sequence[Content], where: str) -> list[str]:
    for block in blocks:
        if not isinstance(block, str):
            raise UnsupportedParameter("Images and files belong in user messages.", param=where)
    return cast("list[str]", blocks)


def _calls(message: chat.ChatMessage) -> list[Call]:
    calls = [Call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    if message.function_call is not None:
        # It has no id; the one it gets here is found again by the function's name.
        function = message.function_call
        calls.append(Call(f"call_{function.name}", function.name, function.arguments))
    return calls


def _named(message: chat.ChatMessage, text: str) -> str:
    return _NAMED.format(name=message.name, text=text) if message.name else text
