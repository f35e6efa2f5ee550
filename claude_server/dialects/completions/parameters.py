"""What becomes of each parameter of a completion: honoured, ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from claude_server.dialects.rules import Rule, honoured
from claude_server.dialects.shared_rules import MODEL_AND_STREAM, NO_LOGPROBS, PENALTIES_AND_SEED, SAMPLING

RULES: Mapping[str, Rule] = {
    "prompt": honoured("a text, or a list of texts, each a turn of its own; token ids are refused"),
    **MODEL_AND_STREAM,
    "stream_options": honoured("include_usage; the rest has no effect"),
    "suffix": honoured("the text between prompt and suffix is asked for; so it is by marks in the prompt"),
    "echo": honoured("the prompt comes before the text"),
    "max_tokens": honoured("as the API's limit; without it there is none but the model's"),
    "n": honoured("answers to each prompt; with several prompts 32 in all"),
    "best_of": honoured("up to n, where there is nothing to choose from; above it is refused"),
    "stop": honoured("up to four texts, by the API; blank ones by the server"),
    "user": honoured("logged as a hash"),
    **SAMPLING,
    **PENALTIES_AND_SEED,
    "logprobs": Rule("refuse", NO_LOGPROBS),
}
