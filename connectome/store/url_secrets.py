"""Secrets in URLs. URLs are kept in records, told in errors and shown in reports: none may hold any."""

from __future__ import annotations

import re
from urllib.parse import unquote

_URL = re.compile(r"([A-Za-z][\w+.-]*):/+([^\s'\"]+)")
"""Also with one slash, which is what a path makes of two."""
_PUNCTUATION = ".,:;?)"
"""What may follow a URL in a sentence and is none of it."""
_SECRET = re.compile(
    r"[?;]|:[^@]*@|(sig|signature|token|secret|password|passwd|pwd|credential|api_?key|access_?key(_?id)?)=",
    re.IGNORECASE,
)
"""A query or parameters, a password before a host, a signature; ``=`` alone is also in folders such as ``date=1``."""


def secret_in(url: str) -> str | None:
    """Return a sentence that refuses a URL with a secret in it and does not repeat it; None where there is none."""
    scheme, separator, rest = url.partition("://")
    scheme, rest = scheme.strip().lower(), unquote(rest)
    if not separator or scheme == "file":
        return None
    host, *beyond = re.split(r"[/?#;]", rest, maxsplit=1)
    if "@" not in host and not _SECRET.search(rest):
        return None
    is_host = not any("@" in part for part in beyond)  # else it may be half a password
    place = f" of {host.rpartition('@')[2]}" if is_host else ""
    return (
        f"the {scheme}:// URL{place} has a user, password, query or signature in it, which would be told in records "
        "and logs: leave that out; stores take credentials from the environment (GOOGLE_APPLICATION_CREDENTIALS, "
        "AWS_ACCESS_KEY_ID ...)"
    )


def hide_secrets(text: str) -> str:
    """Return `text` with what follows the scheme of each URL that holds a secret left out."""

    def told(found: re.Match[str]) -> str:
        rest = found[2].rstrip(_PUNCTUATION)
        if secret_in(f"{found[1]}://{rest}") is None:
            return found[0]
        return f"{found[1]}://...{found[2][len(rest) :]}"

    return _URL.sub(told, text)
