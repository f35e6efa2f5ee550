"""POST /v1/responses: what comes in. What goes out is in `shown.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
)
from pydantic_core import CoreSchema

from claude_server.dialects.base import FailFastList, TurnBody
from claude_server.dialects.openai_terms import Effort, Verbosity


class Loose(BaseModel):
    """Clients send fields back that are for themselves, or newer than we are."""

    model_config = ConfigDict(extra="allow")


class Part(Loose):
    """A part of a message, or of what a tool gave; which field it has goes by its type."""

    type: StrictStr
    text: StrictStr | None = None
    refusal: StrictStr | None = None
    image_url: StrictStr | None = None
    file_data: StrictStr | None = None
    file_id: StrictStr | None = None
    file_url: StrictStr | None = None
    filename: StrictStr | None = None


Content = StrictStr | FailFastList[Part]


class Item(Loose):
    """What all items may have. `id` names one that the server gave, or is the client's own."""

    type: StrictStr | None = None
    id: StrictStr | None = None


class MessageItem(Item):
    role: Literal["user", "assistant", "system", "developer"]
    content: Content | None = None


class CallItem(Item):
    """A call of a function. `arguments` is JSON text, as the model wrote it."""

    call_id: StrictStr
    name: StrictStr
    namespace: StrictStr | None = None
    arguments: StrictStr = ""


class CustomCallItem(Item):
    """A call of a custom tool, whose argument is a text."""

    call_id: StrictStr
    name: StrictStr
    namespace: StrictStr | None = None
    input: StrictStr = ""


class OutputItem(Item):
    """What a function or a custom tool gave."""

    call_id: StrictStr
    output: Content | None = None


class ReasoningItem(Item):
    """Thinking that comes back."""

    summary: FailFastList[Part] | None = None
    encrypted_content: StrictStr | None = None


class ReferenceItem(Item):
    """Stands for the stored item of this id."""

    id: StrictStr


class FunctionTool(Loose):
    """A function that the model may call; `parameters` is the schema of its arguments."""

    type: Literal["function"]
    name: StrictStr
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class CustomFormat(Loose):
    """What the text may be: anything, or what a grammar allows."""

    type: StrictStr
    syntax: StrictStr | None = None
    definition: StrictStr | None = None


class CustomTool(Loose):
    """A tool whose argument is a text."""

    type: Literal["custom"]
    name: StrictStr
    description: StrictStr | None = None
    format: CustomFormat | None = None


class HostedTool(Loose):
    """One that OpenAI runs by itself, or of a kind that is not known here."""

    type: StrictStr


_TOOLS = {"function": "FunctionTool", "custom": "CustomTool"}


class _AnyOf:
    """Has the schema of a union say `anyOf`: a value of one kind may have the shape of another one too, which
    `oneOf` would forbid."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        made = handler(schema)
        return {"anyOf" if name == "oneOf" else name: value for name, value in made.items()}


def _kind_of_inner_tool(value: Any) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return _TOOLS.get(kind, "HostedTool") if isinstance(kind, str) else "HostedTool"


InnerTool = Annotated[
    Annotated[FunctionTool, Tag("FunctionTool")]
    | Annotated[CustomTool, Tag("CustomTool")]
    | Annotated[HostedTool, Tag("HostedTool")],
    Discriminator(_kind_of_inner_tool),
    _AnyOf(),
]


class NamespaceTool(Loose):
    """Tools under a common name: functions and custom ones."""

    type: Literal["namespace"]
    name: StrictStr
    description: StrictStr | None = None
    tools: FailFastList[InnerTool] | None = None


def _kind_of_tool(value: Any) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return "NamespaceTool" if kind == "namespace" else _kind_of_inner_tool(value)


Tool = Annotated[
    Annotated[FunctionTool, Tag("FunctionTool")]
    | Annotated[CustomTool, Tag("CustomTool")]
    | Annotated[NamespaceTool, Tag("NamespaceTool")]
    | Annotated[HostedTool, Tag("HostedTool")],
    Discriminator(_kind_of_tool),
    _AnyOf(),
]


class AdditionalToolsItem(Item):
    """Tools that come in the middle of a conversation."""

    tools: FailFastList[Tool] | None = None


class OtherItem(Item):
    """An item of a kind that is not known here."""


_ITEMS = {
    "message": "MessageItem",
    "function_call": "CallItem",
    "custom_tool_call": "CustomCallItem",
    "function_call_output": "OutputItem",
    "custom_tool_call_output": "OutputItem",
    "reasoning": "ReasoningItem",
    "item_reference": "ReferenceItem",
    "additional_tools": "AdditionalToolsItem",
}


def _kind_of_item(value: Any) -> str:
    """A message may come without its type, a reference too."""
    if isinstance(value, Item):
        return type(value).__name__
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind is None:
        is_reference = isinstance(value, Mapping) and "id" in value and "role" not in value
        return "ReferenceItem" if is_reference else "MessageItem"
    return _ITEMS.get(kind, "OtherItem") if isinstance(kind, str) else "OtherItem"


AnyItem = Annotated[
    Annotated[MessageItem, Tag("MessageItem")]
    | Annotated[CallItem, Tag("CallItem")]
    | Annotated[CustomCallItem, Tag("CustomCallItem")]
    | Annotated[OutputItem, Tag("OutputItem")]
    | Annotated[ReasoningItem, Tag("ReasoningItem")]
    | Annotated[ReferenceItem, Tag("ReferenceItem")]
    | Annotated[AdditionalToolsItem, Tag("AdditionalToolsItem")]
    | Annotated[OtherItem, Tag("OtherItem")],
    Discriminator(_kind_of_item),
    _AnyOf(),
]


class NamedChoice(Loose):
    """A tool that must be called, or the tools that may be: `allowed_tools` with `mode` and `tools`."""

    type: StrictStr
    name: StrictStr | None = None
    mode: Literal["auto", "required"] | None = None
    tools: FailFastList[NamedChoice] | None = None


class TextFormat(Loose):
    """The form of the answer; with a schema `name` and `schema` stand beside the type."""

    type: Literal["text", "json_object", "json_schema"]
    name: StrictStr | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class TextConfig(Loose):
    format: TextFormat | None = None
    verbosity: Verbosity | None = None


class Reasoning(Loose):
    effort: Effort | None = None
    summary: StrictStr | None = None
    generate_summary: StrictStr | None = None


class ConversationName(Loose):
    id: StrictStr


class ResponsesRequest(TurnBody):
    """The fields that are acted on. Of the others some are refused, and some named in x-ignored-params."""

    # The others are kept in `model_extra`, for claude_server/dialects/responses/parameters.py to judge.
    model_config = ConfigDict(extra="allow")

    input: StrictStr | FailFastList[AnyItem] | None = None
    instructions: StrictStr | None = None
    max_output_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    tools: FailFastList[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: StrictBool | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    include: FailFastList[StrictStr] | None = None
    temperature: Annotated[StrictFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[StrictFloat, Field(ge=0, le=1)] | None = None
    metadata: dict[str, StrictStr] | None = None
    user: StrictStr | None = None
    safety_identifier: StrictStr | None = None
    prompt_cache_key: StrictStr | None = None
    store: StrictBool | None = None
    background: StrictBool | None = None
    previous_response_id: StrictStr | None = None
    conversation: StrictStr | ConversationName | None = None
    service_tier: StrictStr | None = None
    prompt_cache_retention: StrictStr | None = None
    # How many of the items are not the request's own, but those that it follows on.
    _before: int = PrivateAttr(0)

    @property
    def before(self) -> int:
        return self._before
