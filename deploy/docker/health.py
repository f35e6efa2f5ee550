"""Is the server of this container alive? Standard library only; the exit status is the answer."""

from __future__ import annotations

import http.client
import os
import sys


def main() -> int:
    port = os.environ.get("CLAUDE_API_PORT") or os.environ["PORT"]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=4)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except OSError as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
