"""What becomes of parameters that several dialects have: rows for their tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from claude_server.dialects.rules import Rule, among, empty, honoured, number

NOT_TOLD = "the claude CLI has no way to tell the API"
NO_SUCH = "Claude has no such setting"
NO_LOGPROBS = "Claude gives no log probabilities"
SAMPLING_ONLY = "forwarded for the models of CLAUDE_SAMPLING_MODELS only"

MODEL_AND_STREAM: Mapping[str, Rule] = {
    "model": honoured("any name of /v1/models, or a full model id"),
    "stream": honoured("server-sent events"),
}
# OpenAI's, about the request rather than the question.
ABOUT_THE_REQUEST: Mapping[str, Rule] = {
    "metadata": honoured("comes back in the answer"),
    "user": honoured("logged as a hash"),
    "safety_identifier": honoured("logged as a hash"),
    "prompt_cache_key": honoured("logged as a hash; the cache needs none"),
    "prompt_cache_retention": honoured(
        "24h: the API caches for an hour, its longest time; in_memory: as usual, for minutes",
        among("24h", "in_memory", "in-memory"),
    ),
    "service_tier": honoured(
        "default: the API's standard_only; auto, priority: as usual, its auto; there is no other",
        among("auto", "default", "priority", "standard_only"),
    ),
}
SAMPLING: Mapping[str, Rule] = {
    "temperature": Rule("ignore", SAMPLING_ONLY, number(1)),
    "top_p": Rule("ignore", SAMPLING_ONLY, number(1)),
}
# OpenAI's, of its older APIs.
PENALTIES_AND_SEED: Mapping[str, Rule] = {
    "presence_penalty": Rule("ignore", NO_SUCH, number(0)),
    "frequency_penalty": Rule("ignore", NO_SUCH, number(0)),
    "logit_bias": Rule("ignore", NO_SUCH, empty),
    "seed": Rule("ignore", NO_SUCH),
}
