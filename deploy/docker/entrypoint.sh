#!/bin/sh
# What a container runs: the server, with the options that were given, or the command that was given instead.
set -eu

folder=$CLAUDE_CONFIG_DIR
if ! [ -w "$folder" ] || ! [ -x "$folder" ]; then
    owner=$(stat -c %u:%g "$folder" 2>/dev/null || echo 'UID:GID')
    echo "$folder holds the login, the keys and the conversations, and user $(id -u) may not write to it." >&2
    echo "Run the container as the folder's owner: docker run --user $owner ..." >&2
    exit 1
fi

case "${1-}" in
"" | -* | [0-9]*)
    # A container is reached from outside, so the server wants a key. The first one is made here, and shown.
    python claude_api.py keys add docker --if-needed
    exec python claude_api.py "$@"
    ;;
*)
    exec "$@"
    ;;
esac
