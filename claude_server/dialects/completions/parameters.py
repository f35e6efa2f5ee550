"""What becomes of each parameter of a completion: honoured, ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from claude_server.dialects.rules import Rule, empty, honoured, number

_NO_SUCH = "Claude has no such setting"
RULES: Mapping[str, Rule] = {
    "prompt": honoured("a text, or a list of texts, each a turn of its own; token ids are refused"),
    "model": honoured("any name of /v1/models, or a full model id"),
    "stream": honoured("server-sent events"),
    "stream_options": honoured("include_usage; the rest has no effect"),
    "suffix": honoured("the text between prompt and suffix is asked for; so it is by marks in the prompt"),
    "echo": honoured("the prompt comes before the text"),
    "max_tokens": honoured("as the API's limit; without it there is none but the model's"),
    "n": honoured("answers to each prompt; with several prompts 32 in all"),
    "best_of": honoured("up to n, where there is nothing to choose from; above it is refused"),
    "stop": honoured("up to four texts, by the API; blank ones by the server"),
    "user": honoured("logged as a hash"),
    "temperature": Rule("ignore", "forwarded for the models of CLAUDE_SAMPLING_MODELS only", number(1)),
    "top_p": Rule("ignore", "forwarded for the models of CLAUDE_SAMPLING_MODELS only", number(1)),
    "presence_penalty": Rule("ignore", _NO_SUCH, number(0)),
    "frequency_penalty": Rule("ignore", _NO_SUCH, number(0)),
    "logit_bias": Rule("ignore", _NO_SUCH, empty),
    "seed": Rule("ignore", _NO_SUCH),
    "logprobs": Rule("refuse", "Claude gives no log probabilities"),
}
