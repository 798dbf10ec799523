"""Who hears of a boot besides its log: the host by virtio-serial, a webhook, a signal address, stdout.

A listener never stops a boot: what cannot be told in time is dropped. Source: guest-agent.md 5.8, brief of
the guest channel in docs/reference/agent-cli.md.
"""

from __future__ import annotations

import os
import time

from boot_stages.log import logger
from boot_stages.plain_json import write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from guest_agent.machine import Machine
    from guest_agent.report import Event, Listener

LOG = logger("listeners")

PORT_NAME = "org.guestling.agent.0"
PORTS = "/sys/class/virtio-ports"
CONSOLE_FLAG = "guestling.console=1"
CONSOLE_MARK = "GUESTLING-RESULT"
# The host reads at once or not at all; a boot does not wait longer for it than this.
CHANNEL_WAIT_S = 2.0
ORIGIN = "cloudinit"


class Channel:
    """JSON lines to the host through a virtio-serial port."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waited_s = 0.0

    def event(self, event: Event) -> None:
        """One line: start or finish."""
        line: dict[str, Any] = {
            "event": event.kind,
            "name": event.name,
            "uptime_s": event.uptime_s,
        }
        if event.kind == "finish":
            line.update(result=event.result, took_s=event.took_s, summary=event.summary)
        self._send(line)

    def result(self, document: dict[str, Any]) -> None:
        """The last line."""
        self._send(document)

    def _send(self, document: dict[str, Any]) -> None:
        data = write_json(document).encode() + b"\n"
        deadline = time.monotonic() + CHANNEL_WAIT_S - self._waited_s
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    # Nobody reads: later lines do not wait again.
                    self._waited_s = CHANNEL_WAIT_S
                    return
                time.sleep(0.005)
            except OSError:
                return


def open_channel(machine: Machine) -> Channel | None:
    """The port the host has named for us, or None."""
    try:
        ports = sorted(os.listdir(machine.path(PORTS)))
    except OSError:
        return None
    for port in ports:
        if (machine.read_text(f"{PORTS}/{port}/name") or "").strip() != PORT_NAME:
            continue
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            return Channel(os.open(machine.path(f"/dev/{port}"), flags))
        except OSError as error:
            LOG.debug("cannot open /dev/%s: %s", port, error.strerror)
    return None


class ConsoleResult:
    """The result as one marked line on the serial console, where the kernel command line asks for it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def event(self, event: Event) -> None:
        """Events are not shown there."""

    def result(self, document: dict[str, Any]) -> None:
        """`GUESTLING-RESULT {json}`."""
        self._machine.console(f"{CONSOLE_MARK} {write_json(document)}\n".encode())


class Printer:
    """`type: print`: each event on stdout."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def event(self, event: Event) -> None:
        """In cloud-init's words."""
        result = f" {event.result}:" if event.result else ""
        self._machine.output.say(f"{event.kind}: {event.name}:{result} {event.description}")

    def result(self, document: dict[str, Any]) -> None:
        """Nothing: the events have said it."""


class Webhook:
    """`type: webhook`: each event as JSON by POST, in cloud-init's form. Source: cloudinit.reporting."""

    def __init__(self, machine: Machine, url: str, *, tries: int, timeout_s: float) -> None:
        self._machine = machine
        self._url = url
        self._tries = tries
        self._timeout_s = timeout_s

    def event(self, event: Event) -> None:
        """The keys that cloud-init's own webhook handler sends."""
        document: dict[str, object] = {
            "name": event.name,
            "description": event.description,
            "event_type": event.kind,
            "origin": ORIGIN,
            "timestamp": event.epoch_s,
        }
        if event.kind == "finish":
            document.update(result=event.result, files=[])
        _post_json(self._machine, self._url, document, self._tries, self._timeout_s)

    def result(self, document: dict[str, Any]) -> None:
        """Nothing: the last event has said it."""


class Signal:
    """`type: signal`: one POST at the end, in the words of OpenStack Heat's wait conditions."""

    def __init__(self, machine: Machine, url: str, *, tries: int, timeout_s: float) -> None:
        self._machine = machine
        self._url = url
        self._tries = tries
        self._timeout_s = timeout_s

    def event(self, event: Event) -> None:
        """Only the result is signalled."""

    def result(self, document: dict[str, Any]) -> None:
        """SUCCESS or FAILURE, who, why, and what the boot reported."""
        failed = document["status"] == "error"
        signal = {
            "status": "FAILURE" if failed else "SUCCESS",
            "id": document["instance_id"],
            "reason": "; ".join(document["errors"]) or f"boot {document['status']}",
            "data": {"status": document["status"], "datasource": document["datasource"]},
        }
        _post_json(self._machine, self._url, signal, self._tries, self._timeout_s)


def _post_json(machine: Machine, url: str, document: object, tries: int, timeout_s: float) -> None:
    from guest_agent.errors import AgentError
    from guest_agent.fetch import Policy, web_for

    policy = Policy(timeout_s=timeout_s, tries=tries, deadline_s=timeout_s * tries)
    headers = {"Content-Type": "application/json"}
    try:
        reply = web_for(machine).request(
            url, policy, method="POST", headers=headers, body=write_json(document).encode()
        )
    except (AgentError, OSError) as error:
        LOG.debug("could not tell %s: %s", url, error)
        return
    if reply.status // 100 != 2:
        LOG.debug("could not tell %s: HTTP %d", url, reply.status)


def configured(machine: Machine, config: Mapping[str, object]) -> list[Listener]:
    """The listeners of `reporting:`; what is wrong with one is a warning, the others stay."""
    table = config.get("reporting")
    found: list[Listener] = []
    for name, options in table.items() if isinstance(table, dict) else ():
        if not isinstance(options, dict) or options.get("type") == "log":
            continue
        kind = options.get("type")
        if kind == "print":
            found.append(Printer(machine))
        elif kind in {"webhook", "signal"}:
            listener = _by_http(machine, str(name), options)
            found.extend([listener] if listener else [])
        else:
            LOG.warning("reporting.%s: type %s is not known. Use log, print, webhook or signal", name, kind)
    return found


def _by_http(machine: Machine, name: str, options: Mapping[str, object]) -> Listener | None:
    url = options.get("endpoint")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        LOG.warning("reporting.%s.endpoint: an http or https address is needed", name)
        return None
    tries = options.get("retries")
    timeout_s = options.get("timeout")
    kind = Signal if options.get("type") == "signal" else Webhook
    return kind(
        machine,
        url,
        tries=tries + 1 if isinstance(tries, int) else 4,
        timeout_s=float(timeout_s) if isinstance(timeout_s, (int, float)) else 5.0,
    )


def built_in(machine: Machine) -> list[Listener]:
    """Those that the host asks for, without any config."""
    found: list[Listener] = []
    channel = open_channel(machine)
    if channel is not None:
        found.append(channel)
    if CONSOLE_FLAG in (machine.read_text("/proc/cmdline") or "").split():
        found.append(ConsoleResult(machine))
    return found
