"""Services of the guest, through systemd or OpenRC. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import STOP, RunCommand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.facts import Facts


def manage(verb: str, service: str, facts: Facts, *extra: str, on_failure: str = STOP) -> RunCommand:
    """One command for a service; `verb` is systemd's word (`restart`, `enable`, `reload-or-restart`, ...)."""
    if facts.distro.systemd:
        return RunCommand(("systemctl", verb, service, *extra), on_failure=on_failure)
    if verb in {"enable", "disable"}:
        word = "add" if verb == "enable" else "del"
        return RunCommand(("rc-update", word, service), on_failure=on_failure)
    words = {"reload-or-restart": "restart", "try-reload-or-restart": "restart"}
    return RunCommand(("rc-service", service, words.get(verb, verb)), on_failure=on_failure)


def is_active(service: str, facts: Facts) -> bool:
    """Whether a service runs now."""
    if facts.distro.systemd:
        return facts.ask("systemctl", "is-active", service).out.strip() == b"active"
    return facts.ask("rc-service", service, "status").status == 0
