"""sshd's configuration: where the agent's options go, and what the file then holds.

Source: guest-agent.md 3.3 (set_passwords, ssh).
"""

from __future__ import annotations

from boot_stages.actions import WriteFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

MAIN = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/50-cloud-init.conf"


def target(facts: Facts) -> str:
    """The agent's own file, where sshd_config includes its directory; else sshd_config itself."""
    rows = [line.lower().split() for line in (facts.read_text(MAIN) or "").splitlines()]
    included = [row[1] for row in rows if len(row) > 1 and row[0] == "include"]
    return DROP_IN if any(each.startswith(f"{MAIN}.d/*.conf") for each in included) else MAIN


def set_option(keyword: str, value: str, facts: Facts) -> tuple[Action, ...]:
    """Give an option this value; none when it has it. Match blocks are not touched."""
    return _write(lambda lines: _with_option(lines, keyword, value), facts)


def add_lines(new: tuple[str, ...], facts: Facts) -> tuple[Action, ...]:
    """Add lines that are not there yet, for options that may stand several times."""
    return _write(lambda lines: [*lines, *(line for line in new if line not in lines)], facts)


def _write(change: Callable[[list[str]], list[str]], facts: Facts) -> tuple[Action, ...]:
    path = target(facts)
    old = facts.read_text(path)
    lines = (old or "").splitlines()
    changed = change(lines)
    if changed == lines:
        return ()
    mode = facts.mode(path) if old is not None else 0o600 if path == DROP_IN else 0o644
    content = "".join(f"{line}\n" for line in changed)
    return (WriteFile(path, content.encode("utf-8", "surrogateescape"), mode or 0o644),)


def _with_option(lines: list[str], keyword: str, value: str) -> list[str]:
    wanted = f"{keyword} {value}"
    for index, line in enumerate(lines):
        words = line.replace("=", " ", 1).split()
        if words[:1] and words[0].lower() == "match":
            return [*lines[:index], wanted, *lines[index:]]
        if words[:1] and words[0].lower() == keyword.lower():
            same = len(words) > 1 and words[1].lower() == value
            return lines if same else [*lines[:index], wanted, *lines[index + 1 :]]
    return [*lines, wanted]
