#!/bin/sh
# A conversation that the server keeps, with curl:
#   BASE_URL=http://127.0.0.1:8765 API_KEY=KEY examples/session_curl_example.sh
# The key is only looked at if the server asks for one.
set -eu

base=${BASE_URL:-http://127.0.0.1:8765}
session="colors-$$-$(date +%s)"

call() {
    path=$1
    shift
    # --fail-with-body: an error is shown, and ends the script.
    curl --silent --show-error --fail-with-body \
        -H "Authorization: Bearer ${API_KEY:-not-used}" -H "Content-Type: application/json" \
        "$@" "$base$path"
    echo
}

say() {
    call /v1/chat/completions \
        -d "{\"model\": \"default\", \"session_id\": \"$session\", \"messages\": [{\"role\": \"user\", \"content\": \"$1\"}]}"
}

echo "== The server is alive"
call /health

echo "== A first message makes the session"
say "My name is Alice."

echo "== The next one goes on with it"
say "What is my name?"

echo "== All sessions, this one, and how many there are"
call /v1/sessions
call "/v1/sessions/$session"
call /v1/sessions/stats

echo "== Deleted, it is gone"
call "/v1/sessions/$session" -X DELETE
