"""Who is at the browser, and that a form was ours: cookie and anti-forgery value. Pure.

The session cookie is a token of the API; the API itself takes tokens from its header alone, so that no
foreign page can make a browser use it. Every form carries a value that is derived from the cookie with the
installation's key, and the browser's own word on where a request comes from is heeded too.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from spawner.identity import Tokens

COOKIE = "guestling_session"
PATH = "/page"


def form_value(tokens: Tokens, session: str) -> str:
    """What a form of this session must bring back."""
    return tokens.derive("page form", session)


def is_form_of(tokens: Tokens, session: str, value: str) -> bool:
    """Whether a form is one that this session was given."""
    return hmac.compare_digest(form_value(tokens, session).encode(), value.encode("utf-8", "replace"))


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a request comes from our own pages; a client that says nothing is none."""
    if headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == headers.get("Host", "")
