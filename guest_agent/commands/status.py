"""`cloud-init status`: one word, or all there is to know, about the running or the last boot.

Source: guest-agent.md 5.2.
"""

from __future__ import annotations

import os
import time

from boot_stages.commands import Command
from boot_stages.plain_json import read_json, write_indented
from boot_stages.stages import STAGES
from boot_stages.value import Value
from guest_agent.report import DEGRADED, DONE, ERROR, places

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from guest_agent.machine import Machine

POLL_S = 0.25
MARKER = "/etc/cloud/cloud-init.disabled"
DISABLED = "cloud-init=disabled"
GENERATOR_ENABLED = "/run/cloud-init/enabled"
GENERATOR_DISABLED = "/run/cloud-init/disabled"
UNITS = (
    "cloud-final.service",
    "cloud-config.service",
    "cloud-init-network.service",
    "cloud-init-local.service",
    "cloud-init-main.service",
)
UNIT_FAILURE = "Failed due to systemd unit failure"
UNIT_REMEDY = (
    f"{UNIT_FAILURE}. Ensure all cloud-init services are enabled,"
    " and check 'systemctl' or 'journalctl' for more information."
)
# The plain word of a state is shown for these pairs of (is it running, its condition).
EXTENDED = {
    "running": {DONE: "running", DEGRADED: "degraded running", ERROR: "error - running"},
    "done": {DONE: "done", DEGRADED: "degraded done", ERROR: "error - done"},
    "not started": {DONE: "not started", DEGRADED: "not started", ERROR: "error"},
    "disabled": {DONE: "disabled", DEGRADED: "disabled", ERROR: "disabled"},
}


class BootStatus(Value):
    """Whether the agent was to run at all in this boot: the code, and the reason in words."""

    code: str
    reason: str

    @property
    def is_disabled(self) -> bool:
        """Whether it was switched off."""
        return self.code.startswith("disabled")


class Details(Value):
    """Everything `status` shows."""

    running: str
    condition: int
    boot: BootStatus
    detail: str
    datasource: str
    last_update: str
    errors: tuple[str, ...]
    recoverable: dict[str, list[str]]
    v1: dict[str, Any]

    @property
    def word(self) -> str:
        """The plain status."""
        return "error" if self.condition == ERROR and self.running != "disabled" else self.running

    @property
    def extended(self) -> str:
        """The status with its condition."""
        return EXTENDED[self.running][self.condition]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `status`."""
    parser.add_argument("--format", choices=["tabular", "json", "yaml"], default="tabular")
    parser.add_argument("-l", "--long", action="store_true", help="all details, one a line")
    parser.add_argument("-w", "--wait", action="store_true", help="wait until the boot is over")


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """Print the status; 1 after errors, 2 after recoverable errors, else 0."""
    details = details_of(machine)
    while arguments.wait and details.running in {"running", "not started"} and not _is_kept_still(machine):
        if arguments.format == "tabular":
            print(".", end="", flush=True)
        time.sleep(POLL_S)
        details = details_of(machine)
    if arguments.wait and arguments.format == "tabular":
        print()
    shown = {"tabular": _tabular, "json": _as_json, "yaml": _as_yaml}[arguments.format]
    print(shown(details, arguments.long))
    return details.condition if details.running != "disabled" else DONE


def _is_kept_still(machine: Machine) -> bool:
    """Whether nothing will ever start: without systemd the services themselves heed marker and command line,
    though the status is called `enabled-by-sysvinit` all the same. Source: guest-agent.md 1.2, 5.3.
    """
    if os.path.isdir(machine.path("/run/systemd/system")) or machine.exists(places(machine)[0]):
        return False
    return machine.exists(MARKER) or DISABLED in (machine.read_text("/proc/cmdline") or "")


def boot_status(machine: Machine) -> BootStatus:
    """The first row that holds decides."""
    command_line = (machine.read_text("/proc/cmdline") or "").split()
    if not os.path.isdir(machine.path("/run/systemd/system")):
        return BootStatus("enabled-by-sysvinit", "Cloud-init enabled on sysvinit")
    if "cloud-init=enabled" in command_line:
        return BootStatus(
            "enabled-by-kernel-command-line", "Cloud-init enabled by kernel command line cloud-init=enabled"
        )
    if machine.exists(MARKER):
        return BootStatus("disabled-by-marker-file", f"Cloud-init disabled by {MARKER}")
    if DISABLED in command_line:
        return BootStatus(
            "disabled-by-kernel-command-line", f"Cloud-init disabled by kernel parameter {DISABLED}"
        )
    if _is_disabled_by_environment(machine):
        return BootStatus(
            "disabled-by-environment-variable",
            f"Cloud-init disabled by environment variable KERNEL_CMDLINE={DISABLED}",
        )
    if machine.exists(GENERATOR_DISABLED):
        return BootStatus("disabled-by-generator", "Cloud-init disabled by cloud-init-generator")
    if machine.exists(GENERATOR_ENABLED):
        return BootStatus("enabled-by-generator", "Cloud-init enabled by systemd cloud-init-generator")
    return BootStatus("unknown", "Systemd generator may not have run yet.")


def _is_disabled_by_environment(machine: Machine) -> bool:
    if os.environ.get("KERNEL_CMDLINE") == DISABLED:
        return True
    answer = _systemctl(machine, "show-environment")
    return f"KERNEL_CMDLINE={DISABLED}" in answer.splitlines()


def _systemctl(machine: Machine, *words: str) -> str:
    """The answer of systemctl; an error is as good as silence: systemd may not be ready yet."""
    command = Command(("systemctl", *words), timeout_s=10.0, question=True)
    answer = machine.commands.run(command)
    return answer.out.decode("utf-8", "replace") if answer.status == 0 else ""


def _has_failed_unit(machine: Machine) -> bool:
    """Whether one of our units failed or is not enabled."""
    for unit in UNITS:
        text = _systemctl(machine, "show", "--property=UnitFileState,ActiveState,SubState,MainPID", unit)
        states = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
        if not states:
            return False
        if not states.get("UnitFileState", "").startswith(("enabled", "static")):
            return True
        if "failed" in {states.get("ActiveState"), states.get("SubState")}:
            return True
        if states.get("SubState") == "running" and states.get("MainPID") == "0":
            return False
    return False


def details_of(machine: Machine) -> Details:
    """Read the state files and ask systemd."""
    boot = boot_status(machine)
    v1 = _load_v1(machine)
    stages = [v1[key] for key in sorted(stage.key for stage in STAGES) if isinstance(v1.get(key), dict)]
    errors = [str(error) for stage in stages for error in stage.get("errors") or ()]
    recoverable: dict[str, list[str]] = {}
    for stage in stages:
        for level, texts in (stage.get("recoverable_errors") or {}).items():
            known = recoverable.setdefault(level, [])
            known.extend(text for text in texts if text not in known)
    latest = max((stage.get(word) or 0 for stage in stages for word in ("start", "finished")), default=0)
    running = _running(machine, boot, latest)
    text = str(v1.get("datasource") or "")
    detail = text or (f"Running in stage: {v1['stage']}" if v1.get("stage") else "") or boot.reason
    if (
        running in {"running", "not started"}
        and boot.code != "enabled-by-sysvinit"
        and _has_failed_unit(machine)
    ):
        running, detail = "done", UNIT_FAILURE
        errors.append(UNIT_REMEDY)
    condition = ERROR if errors else DEGRADED if recoverable else DONE
    return Details(
        running, condition, boot, detail, _short(text), _last_update(latest), tuple(errors), recoverable, v1
    )


def _load_v1(machine: Machine) -> dict[str, Any]:
    try:
        found = read_json(machine.read_text(places(machine)[0]) or "{}")["v1"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _running(machine: Machine, boot: BootStatus, latest: float) -> str:
    if boot.is_disabled:
        return "disabled"
    status, result = places(machine)
    if machine.exists(status) and not machine.exists(result):
        return "running"
    return "done" if latest > 0 else "not started"


def _short(datasource: str) -> str:
    """`DataSourceNoCloud [seed=...]` as `nocloud`."""
    return datasource.partition(" ")[0].lower().replace("datasource", "")


def _last_update(latest: float) -> str:
    """The uptime as if it were a time since 1970, as cloud-init shows it (D19)."""
    return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(latest)) if latest else ""


def _tabular(details: Details, is_long: bool) -> str:
    lines = [f"status: {details.word}"]
    if is_long:
        lines += [f"extended_status: {details.extended}", f"boot_status_code: {details.boot.code}"]
        if details.last_update:
            lines.append(f"last_update: {details.last_update}")
        lines.append(f"detail: {details.detail}")
        lines += _listed("errors", details.errors)
        lines += _blocks(details.recoverable)
    return "\n".join(lines)


def _listed(name: str, items: tuple[str, ...]) -> list[str]:
    return [f"{name}:", *(f"\t- {item}" for item in items)] if items else [f"{name}: []"]


def _blocks(recoverable: dict[str, list[str]]) -> list[str]:
    if not recoverable:
        return ["recoverable_errors: {}"]
    lines = ["recoverable_errors:"]
    for level, texts in recoverable.items():
        lines += [f"{level}:", *(f"\t- {' '.join(text.split(chr(10)))}" for text in texts)]
    return lines


def _document(details: Details) -> dict[str, Any]:
    document = {
        "datasource": details.datasource,
        "boot_status_code": details.boot.code,
        "status": details.word,
        "extended_status": details.extended,
        "detail": details.detail,
        "errors": list(details.errors),
        "recoverable_errors": details.recoverable,
        "last_update": details.last_update,
    }
    stages = {name: value for name, value in details.v1.items() if name != "datasource"}
    return {**document, **stages}


def _as_json(details: Details, _is_long: bool) -> str:
    return write_indented(_document(details), indent="  ")


def _as_yaml(details: Details, _is_long: bool) -> str:
    import yaml

    text = yaml.safe_dump(
        _document(details),
        line_break="\n",
        indent=4,
        explicit_start=True,
        explicit_end=True,
        default_flow_style=False,
    )
    return str(text)
