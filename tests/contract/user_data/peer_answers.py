"""Runs inside cloud-init's own Python: what it makes of merges and of user data.

`peer_answers.py PACKAGES` reads a JSON list of questions from stdin and prints the answers:
{"parts": [{"value", "header"}...]} -> merged part values, and the same merged as config sources;
{"user_data": base64} -> [type, filename, base64 payload] of each final part, or "fails".
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import sys
from typing import Any

sys.path.insert(0, sys.argv[1])
logging.disable(logging.CRITICAL)


class Paths:
    """Where cloud-init would keep things: nowhere."""

    def get_ipath_cur(self, *_names: object) -> str:
        return "/nonexistent"

    get_ipath = get_cpath = get_ipath_cur


def merged(question: dict[str, Any]) -> dict[str, Any]:
    from cloudinit import mergers, util  # type: ignore[import-not-found]  # a peer, not ours

    try:
        whole: Any = {}
        for part in question["parts"]:
            value = copy.deepcopy(part["value"])
            found = mergers.dict_extract_mergers(value) + mergers.string_extract_mergers(part["header"])
            found = found or mergers.string_extract_mergers("dict(replace)+list()+str()")
            whole = mergers.construct(found).merge(whole, value)
        config = util.mergemanydict([copy.deepcopy(part["value"]) for part in question["parts"]])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        return {"fails": type(error).__name__}
    return {"parts": whole, "config": config}


def taken_apart(question: dict[str, Any]) -> Any:
    from cloudinit import handlers, user_data

    user_data.util.fetch_ssl_details = lambda *_words, **_more: {}
    found: list[list[str]] = []

    def keep(_data: object, filename: str, payload: Any, headers: dict[str, str]) -> None:
        raw = payload if isinstance(payload, bytes) else payload.encode("utf-8", "surrogateescape")
        found.append([headers["Content-Type"], filename, base64.b64encode(raw).decode()])

    try:
        message = user_data.UserDataProcessor(Paths()).process(base64.b64decode(question["user_data"]))
        handlers.walk(message, keep, data={})
    except Exception:  # noqa: BLE001  # whatever it is, the stage fails
        return "fails"
    return found


if __name__ == "__main__":
    answers = [taken_apart(one) if "user_data" in one else merged(one) for one in json.load(sys.stdin)]
    json.dump(answers, sys.stdout)
