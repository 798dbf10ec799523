"""`ssh_authkey_fingerprints`: show on the console which keys may log in as whom.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.accounts import users_of
from boot_stages.actions import Console
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.schema import BOOL, TEXT, Keys, key
from boot_stages.ssh_keys import authorized_keys_path, digest, parse_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.ssh_keys import KeyLine

PREFIX = "ci-info: "


class Config(Keys):
    """Keys of `ssh_authkey_fingerprints`."""

    no_ssh_fingerprints: bool = key("Show none.", BOOL, default=False)
    authkey_hash: str = key("The hash of the fingerprints.", TEXT, default="sha256")


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One table for each user of the config that is there."""
    if config.no_ssh_fingerprints:
        return ()
    texts = []
    for user in users_of(facts).users:
        account = facts.account(user.name)
        if account is not None:
            path = authorized_keys_path(user.name, account.home, facts)
            texts.append(_about(user.name, path, config.authkey_hash, facts))
    return (Console("".join(texts)),) if texts else ()


def _about(user: str, path: str, hash_name: str, facts: Facts) -> str:
    keys = [parse_line(line) for line in (facts.read_text(path) or "").splitlines()]
    rows = [_row(each, hash_name) for each in keys if each.blob]
    if not rows:
        return f"{PREFIX}no authorized SSH keys fingerprints found for user {user}.\n"
    head = ("Keytype", f"Fingerprint ({hash_name})", "Options", "Comment")
    table = _table([head, *rows])
    title = f"Authorized keys from {path} for user {user}"
    return "".join(f"{PREFIX}{line}\n" for line in (title.center(len(table[0]), "+"), *table))


def _row(each: KeyLine, hash_name: str) -> tuple[str, ...]:
    return each.kind, fingerprint(each.blob, hash_name), each.options or "-", each.comment or "-"


def fingerprint(blob: str, hash_name: str) -> str:
    """Pairs of hexadecimal digits; `?` for what is not base64. Raises ModuleFailed for an unknown hash."""
    try:
        found = digest(blob, hash_name)
    except ValueError as error:
        raise ModuleFailed(f"authkey_hash: {hash_name} is not a hash of this system. Use sha256") from error
    return "?" if found is None else found.hex(":")


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [
        "|" + "|".join(f" {word.center(width)} " for word, width in zip(row, widths)) + "|" for row in rows
    ]
    return [rule, lines[0], rule, *lines[1:], rule]


MODULE = Module("ssh_authkey_fingerprints", Config, plan)
