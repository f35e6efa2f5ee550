"""The items of a request as a system prompt and a conversation. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import Document, Image, Message
from claude_server.dialects import media
from claude_server.dialects.conversation import Call, Content, Conversation, is_blank
from claude_server.dialects.responses import wire
from claude_server.dialects.responses.thoughts import opened
from claude_server.dialects.responses.tools import INPUT, flat_name

_SYSTEM_ROLES = frozenset({"system", "developer"})
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_IMAGES_OFF = "Images are taken as data URLs only; to have others fetched, set CLAUDE_FETCH_IMAGES=on."
_NO_FILES = "There are no stored files here: send 'file_data'."
_MAX_NOTE = 4000
_NOTE = '<item type="{kind}">\n{text}\n</item>'
# Items that tell what OpenAI's own tools did, or are for OpenAI's own use: the answer says what came of it.
_DROPPED = frozenset(
    {
        *(
            "web_search_call",
            "file_search_call",
            "image_generation_call",
            "mcp_list_tools",
            "tool_search_call",
        ),
        *("tool_search_output", "mcp_approval_request", "mcp_approval_response", "compaction_trigger"),
    }
)


@dataclass(frozen=True, slots=True)
class History:
    """`later_system`: is there a system message after one of another role? `left_out`: kinds of items that
    the model isn't told; `told`: kinds of which it is told the JSON."""

    system: tuple[str, ...]
    messages: list[Message]
    later_system: bool
    left_out: tuple[str, ...]
    told: tuple[str, ...]


def items_of(request: wire.ResponsesRequest) -> Sequence[wire.AnyItem]:
    """What the request says, as items."""
    if isinstance(request.input, str):
        return (wire.MessageItem(type="message", role="user", content=request.input),)
    return request.input or ()


def remote_images(request: wire.ResponsesRequest) -> dict[str, str]:
    """The http(s) URLs of images in the items, and where each is first."""
    found: dict[str, str] = {}
    for index, item in _numbered(request):
        for number, part in enumerate(_parts(item)):
            if part.type == "input_image" and part.image_url is not None and _is_remote(part.image_url):
                found.setdefault(part.image_url, f"{_place(item, index)}[{number}].image_url")
    return found


def additional_tools(request: wire.ResponsesRequest) -> Iterator[tuple[str, wire.Tool]]:
    """The tools that items bring, with their places."""
    for index, item in _numbered(request):
        if isinstance(item, wire.AdditionalToolsItem):
            for number, tool in enumerate(item.tools or ()):
                yield f"input[{index}].tools[{number}]", tool


def _numbered(request: wire.ResponsesRequest) -> Iterator[tuple[int, wire.AnyItem]]:
    """The items with their places in the input; those that it follows on have places below 0."""
    return enumerate(items_of(request), -request.before)


def _parts(item: wire.AnyItem) -> Sequence[wire.Part]:
    content: object = None
    if isinstance(item, wire.MessageItem):
        content = item.content
    elif isinstance(item, wire.OutputItem):
        content = item.output
    return content if isinstance(content, list) else ()


def _place(item: wire.AnyItem, index: int) -> str:
    return f"input[{index}].{'output' if isinstance(item, wire.OutputItem) else 'content'}"


def read(
    request: wire.ResponsesRequest,
    fetched: Mapping[str, Image],
    names: Mapping[tuple[str | None, str], str],
) -> History:
    """The conversation. The system messages that come first are the prompt; a later one keeps its place, as
    marked text of the user's, so that the prompt is found in the API's cache.

    `fetched`: the images at the remote URLs. `names`: the model's names for tools, by namespace and name.
    Raises InvalidRequest or UnsupportedParameter with `param`.
    """
    return _Reader(fetched, names).read(request)


class _Reader:
    def __init__(self, fetched: Mapping[str, Image], names: Mapping[tuple[str | None, str], str]) -> None:
        self._fetched = fetched
        self._names = names
        self._talk = Conversation()
        self._system: list[str] = []
        self._begun = self._later_system = False
        self._left_out: dict[str, None] = {}
        self._told: dict[str, None] = {}

    def read(self, request: wire.ResponsesRequest) -> History:
        for index, item in _numbered(request):
            if isinstance(item, wire.MessageItem):
                self._message(item, _place(item, index))
            elif isinstance(item, wire.CallItem):
                self._call(Call(item.call_id, self._name(item), item.arguments))
            elif isinstance(item, wire.CustomCallItem):
                self._call(Call(item.call_id, self._name(item), json.dumps({INPUT: item.input})))
            elif isinstance(item, wire.OutputItem):
                self._output(item, _place(item, index))
            elif isinstance(item, wire.ReasoningItem):
                thought = opened(item.encrypted_content or "")
                if thought is not None:
                    self._talk.thought(thought)
            elif isinstance(item, wire.OtherItem):
                self._other(item)
        messages = self._talk.messages()
        system = tuple(self._system)
        return History(system, messages, self._later_system, tuple(self._left_out), tuple(self._told))

    def _message(self, item: wire.MessageItem, place: str) -> None:
        blocks = [block for block in self._blocks(item.content, place) if not is_blank(block)]
        if item.role in _SYSTEM_ROLES:
            texts = _only_texts(blocks, place)
            if not self._begun:
                self._system += texts
            elif texts:
                self._later_system = True
                self._talk.note("\n\n".join(texts))
            return
        self._begun = True
        if item.role == "assistant":
            self._talk.assistant(_only_texts(blocks, place))
        elif blocks:
            self._talk.user(blocks)

    def _call(self, call: Call) -> None:
        self._begun = True
        self._talk.assistant((), (call,))

    def _name(self, item: wire.CallItem | wire.CustomCallItem) -> str:
        known = self._names.get((item.namespace, item.name))
        return known or flat_name(item.namespace, item.name)

    def _output(self, item: wire.OutputItem, place: str) -> None:
        self._begun = True
        blocks = [block for block in self._blocks(item.output, place) if not is_blank(block)]
        self._talk.result(item.call_id, tuple(blocks))

    def _other(self, item: wire.OtherItem) -> None:
        kind = item.type or ""
        if kind in _DROPPED:
            self._left_out[kind] = None
            return
        self._begun = True
        self._told[kind] = None
        text = json.dumps(item.model_dump(exclude_unset=True), ensure_ascii=False)[:_MAX_NOTE]
        self._talk.aside(_NOTE.format(kind=kind[:80], text=text))

    def _blocks(self, content: wire.Content | None, place: str) -> Iterator[Content]:
        if isinstance(content, str):
            yield content
        for number, part in enumerate(content if isinstance(content, list) else ()):
            yield self._part(part, f"{place}[{number}]")

    def _part(self, part: wire.Part, place: str) -> Content:
        if part.type == "input_image":
            return self._image(part, place)
        if part.type == "input_file":
            return _file(part, place)
        if part.type not in _TEXTS and part.type != "refusal":
            raise UnsupportedParameter(f"Content parts of type '{part.type}' are not supported.", param=place)
        text = part.refusal if part.type == "refusal" else part.text
        if text is None:
            name = "refusal" if part.type == "refusal" else "text"
            raise InvalidRequest(f"A part of type '{part.type}' needs '{name}'.", param=place)
        return text

    def _image(self, part: wire.Part, place: str) -> Image:
        place = f"{place}.image_url"
        if part.image_url is None:
            if part.file_id is not None:
                raise UnsupportedParameter(_NO_FILES.replace("file_data", "image_url"), param=place)
            raise InvalidRequest("A part of type 'input_image' needs 'image_url'.", param=place)
        if _is_remote(part.image_url):
            if part.image_url not in self._fetched:
                raise UnsupportedParameter(_IMAGES_OFF, param=place)
            return self._fetched[part.image_url]
        return media.image(media.data_url(part.image_url, place)[1], place)


def _file(part: wire.Part, place: str) -> Document:
    if part.file_data is not None:
        return media.document(part.file_data, part.filename, f"{place}.file_data")
    if part.file_id is not None or part.file_url is not None:
        raise UnsupportedParameter(_NO_FILES, param=place)
    raise InvalidRequest("A part of type 'input_file' needs 'file_data'.", param=place)


def _is_remote(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _only_texts(blocks: Sequence[Content], place: str) -> list[str]:
    for block in blocks:
        if not isinstance(block, str):
            raise UnsupportedParameter("Images and files belong in user messages and outputs.", param=place)
    return cast("list[str]", blocks)
