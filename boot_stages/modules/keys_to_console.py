"""`keys_to_console`: show the host's public keys on the console, and their fingerprints in syslog.

Whoever owns the console can then tell this guest from an impostor. Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import IGNORE, Console, RunCommand
from boot_stages.module import Module
from boot_stages.schema import BOOL, TEXT, Keys, key, list_of, record
from boot_stages.ssh_keys import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

RULER = "#" * 61


class SshKeys(Keys):
    """The map below `ssh`."""

    emit_keys_to_console: bool = key("Show the host keys.", BOOL, default=True, required=True)


class Config(Keys):
    """Keys of `keys_to_console`."""

    ssh: SshKeys = key("What is shown of SSH on the console.", record(SshKeys), default=SshKeys())
    ssh_key_console_blacklist: tuple[str, ...] = key(
        "Key types that are not shown, as in the .pub file: ssh-rsa.",
        list_of(TEXT, uniqueItems=True),
        default=(),
    )
    ssh_fp_console_blacklist: tuple[str, ...] = key(
        "Key types whose fingerprints are not told.", list_of(TEXT, uniqueItems=True), default=()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Two blocks, when there are host keys."""
    if not config.ssh.emit_keys_to_console:
        return ()
    keys = _host_keys(facts)
    shown = [line for line in keys if line.split()[0] not in config.ssh_key_console_blacklist]
    told = [line for line in keys if line.split()[0] not in config.ssh_fp_console_blacklist]
    actions: list[Action] = []
    if told:
        prints = "".join(f"{_fingerprint(line)}\n" for line in told)
        text = (
            f"\n{RULER}\n-----BEGIN SSH HOST KEY FINGERPRINTS-----\n{prints}"
            f"-----END SSH HOST KEY FINGERPRINTS-----\n{RULER}\n"
        )
        argv = ("logger", "-p", "user.info", "-t", "cloud-init")
        # A guest without a system log has shown them on the console all the same.
        actions.append(RunCommand(argv, stdin=text.encode(), optional=True, on_failure=IGNORE))
    if shown:
        lines = "".join(f"{line}\n" for line in shown)
        actions.append(
            Console(f"-----BEGIN SSH HOST KEY KEYS-----\n{lines}-----END SSH HOST KEY KEYS-----\n")
        )
    return tuple(actions)


def _host_keys(facts: Facts) -> list[str]:
    names = [
        name
        for name in facts.names_in("/etc/ssh")
        if name.startswith("ssh_host_") and name.endswith("_key.pub")
    ]
    texts = [(facts.read_text(f"/etc/ssh/{name}") or "").strip() for name in names]
    return [text for text in texts if len(text.split()) >= 2]


def _fingerprint(line: str) -> str:
    """As `ssh-keygen -lf` says it, without the length of the key: SHA256:... comment (TYPE)."""
    import binascii

    kind, blob, *comment = line.split(None, 2)
    found = digest(blob)
    if found is None:
        return f"? {kind}"
    word = binascii.b2a_base64(found, newline=False).decode().rstrip("=")
    return f"SHA256:{word} {comment[0] if comment else 'no comment'} ({kind})"


MODULE = Module("keys_to_console", Config, plan)
