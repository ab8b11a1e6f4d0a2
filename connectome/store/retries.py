"""What is tried again when a store fails for a moment, and what is not.

TensorStore does it all, at the level of one request: it tries again after 408, 429, 500, 502, 503, 504, a
connection that is refused, reset or cut, and an answer that does not come; the delay doubles and has jitter.
Everything else (400, 403, 404) fails at once. Nothing above it tries again, so that tries do not multiply;
a task that fails all the same is tried again as a whole by the engine. Writing twice is harmless: a key is
written whole, with the same bytes.
"""

from __future__ import annotations

import os
import re
from typing import Any

PATIENCE = {"max_retries": 12, "initial_delay": "0.1s", "max_delay": "30s"}
"""About two and a half minutes in all. Jitter is as large as the first delay: TensorStore has no other."""
PATIENCE_WITH_WEB = {"max_retries": 3, "initial_delay": "0.5s", "max_delay": "4s"}
"""For http(s): a server that is not there is more likely a wrong URL than an overloaded one."""
REQUESTS_AT_ONCE = 32
"""Requests of a process to one kind of store that are under way at any time; more wait their turn. One that
waits to be tried again holds none of them."""
SILENCE_S = 30
"""A connection over which nothing comes or goes for so long is given up, and the request tried again."""

# The transport reads these once, at its first request; by default it would wait for ever.
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(SILENCE_S))
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")

ADVICE = {
    "400": "the store does not understand the request: check the URL and the region",
    "401": "the store does not know you: check the credentials",
    "403": "access is denied: check the credentials and what they may do",
    "404": "there is no such bucket or folder: check the URL",
    "412": "another process wrote it at the same time: run again",
}
"""What to do about answers that trying again does not change."""


def retry_settings() -> dict[str, Any]:
    """Return the part of TensorStore's context that says how requests are tried again and limited."""
    limit = {"limit": REQUESTS_AT_ONCE}
    return {
        "gcs_request_retries": PATIENCE,
        "s3_request_retries": PATIENCE,
        "http_request_retries": PATIENCE_WITH_WEB,
        "gcs_request_concurrency": limit,
        "s3_request_concurrency": limit,
        "http_request_concurrency": limit,
    }


def reason_of(error: Exception) -> str:
    """Return what a store's error says in one line, with advice where trying again would not help.

    TensorStore's code in front, its annotations behind, which may hold a whole answer, and its escaped key after
    a folder are left out.
    """
    text = str(error)
    code = re.search(r"http_response_code='(\d+)'", text)
    if code is not None and code[1] in ADVICE:
        return f"{ADVICE[code[1]]} (HTTP {code[1]})"
    line = (text.splitlines() or [type(error).__name__])[0]
    line = re.sub(r"^[A-Z_]+: ", "", re.split(r" \[\w+='", line)[0])
    line = re.sub(r'\\x00[^"]*', "", line)
    if code is not None:
        line = f"{line} (HTTP {code[1]}, after {PATIENCE['max_retries']} further tries)"
    return line
