"""langchain-tests' own suite for chat models, on ChatOpenAI and this server. pytest runs it in LangChain's
environment; tests/clients/test_langchain_suite.py runs pytest."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests, chat_models

# One black pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


@pytest.fixture(autouse=True)
def samples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The suite fetches its picture, document and sound from the web: here they are made."""

    def get(url: str, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(content=PDF if url.endswith(".pdf") else PNG)

    monkeypatch.setattr(chat_models, "httpx", SimpleNamespace(get=get))
    monkeypatch.setattr(chat_models, "_get_base64_from_url", lambda url: "UklGRg==")
    yield


class TestChatOpenAI(ChatModelIntegrationTests):
    """Everything that the suite can ask for is switched on; what is refused by choice is marked so."""

    chat_model_class = ChatOpenAI
    # With another base_url than OpenAI's, ChatOpenAI asks for usage in streams only if it is told to.
    chat_model_params = {  # noqa: RUF012
        "model": "sonnet",
        "max_retries": 0,
        "use_responses_api": False,
        "stream_usage": True,
    }
    supports_json_mode = True
    supports_image_inputs = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_pdf_tool_message = True
    supports_audio_inputs = True
    supports_anthropic_inputs = True
    supports_model_override = True
    model_override_value = "haiku"
    supported_usage_metadata_details = {  # noqa: RUF012
        "invoke": ["reasoning_output", "cache_read_input"],
        "stream": ["reasoning_output", "cache_read_input"],
    }

    def _asked(self, question: str, stream: bool, **options: Any) -> AIMessage:
        model = ChatOpenAI(**self.chat_model_params, **options)
        if not stream:
            return model.invoke(question)
        full: Any = None
        for chunk in model.stream(question):
            full = chunk if full is None else full + chunk
        return full

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._asked("Think.", stream, reasoning_effort="high")

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._asked("Hello", stream)

    @pytest.mark.xfail(strict=True, reason="Claude takes no audio: a 400 says so")
    def test_audio_inputs(self, model: BaseChatModel) -> None:
        super().test_audio_inputs(model)
