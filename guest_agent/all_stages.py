"""All four stages in one process; systemd's units hand over to it through one socket a stage.

A unit sends `start` on its stage's socket and gets back one line of shell to run: what to say and how to
exit. The text in that line is ours alone, never data. Source: guest-agent.md 1.7.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, socket  # lighter, see docs/decisions/0126

from boot_stages.log import logger
from boot_stages.stages import CONFIG, FINAL, LOCAL, NETWORK
from guest_agent.state import RUN_SHARE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.boot import Boot
    from guest_agent.machine import Machine

LOG = logger("socket")

# The socket of each stage, in the order in which the stages run.
SOCKETS = (("local", LOCAL), ("network", NETWORK), ("config", CONFIG), ("final", FINAL))
START = b"start"
DONE = "Completed socket interaction for boot stage {name}"
FAILED = (
    'fatal error, run "systemctl status cloud-init-main.service" and "cloud-init status --long"'
    " for more details"
)
# A unit that has connected sends its five bytes at once.
HANDSHAKE_S = 10.0


class Doors:
    """The four listening sockets, all open before systemd is told that we are ready."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        machine.make_directory(RUN_SHARE.path, RUN_SHARE.mode)
        self._sockets: dict[str, socket] = {}
        for name, _stage in SOCKETS:
            path = machine.path(f"{RUN_SHARE.path}/{name}.sock")
            machine.remove(f"{RUN_SHARE.path}/.{name}")
            door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            before = os.umask(0o177)
            try:
                door.bind(f"{os.path.dirname(path)}/.{name}")
            finally:
                os.umask(before)
            door.listen(4)
            # The name appears when somebody listens behind it: a unit that is early must not be refused.
            os.rename(f"{os.path.dirname(path)}/.{name}", path)
            self._sockets[name] = door

    def wait(self, name: str) -> socket:
        """The connection of the stage's unit, once it has said `start`. Raises ValueError for other words."""
        descriptor, _address = self._sockets[name]._accept()  # type: ignore[attr-defined]
        connection = socket(fileno=descriptor)
        connection.settimeout(HANDSHAKE_S)
        heard = b""
        while len(heard) < len(START):
            try:
                piece = connection.recv(len(START) - len(heard))
            except OSError:
                piece = b""
            if not piece:
                break
            heard += piece
        if heard != START:
            answer(connection, name, 1)
            raise ValueError(f"stage {name}: its unit said {heard!r}, not {START!r}")
        return connection

    def close(self) -> None:
        """Stop listening; a unit that is started by hand later finds no socket and runs its stage itself."""
        for name, door in self._sockets.items():
            self._machine.remove(f"{RUN_SHARE.path}/{name}.sock")
            door.close()


def answer(connection: socket, name: str, errors: int) -> None:
    """Tell the unit how its stage went; a unit that has gone away is not an error of the stage."""
    message = FAILED if errors else DONE.format(name=name)
    try:
        connection.sendall(f"echo '{message}'; exit {min(errors, 255)};\n".encode())
        # The line end after the unit's word. Left unread it makes the kernel report an error at the close,
        # for which netcat drops the answer, unless it has read that before.
        connection.setblocking(False)
        while connection.recv(64):
            pass
    except BlockingIOError:
        pass
    except OSError as error:
        LOG.debug("the unit of stage %s has gone: %s", name, error)
    finally:
        connection.close()


def notify(text: str) -> None:
    """Tell systemd; without NOTIFY_SOCKET, or when it does not listen, nothing happens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    channel = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        channel.connect(address)
        channel.sendall(text.encode())
    except OSError as error:
        LOG.debug("systemd was not told %r: %s", text, error)
    finally:
        channel.close()


def run(boot: Boot, *, is_by_hand: bool) -> int:
    """Run every stage when its turn comes; 1 if any stage had errors.

    `is_by_hand`: stdin is a terminal, nobody hands over, the stages follow each other at once.
    """
    if is_by_hand:
        counts = [boot.run(stage) for _name, stage in SOCKETS]
        return 1 if any(counts) else 0
    doors = Doors(boot.machine)
    notify("READY=1")
    failed = ""
    for name, stage in SOCKETS:
        notify(f"STATUS=Waiting on external services to complete before starting the {name} stage.")
        try:
            connection = doors.wait(name)
        except (ValueError, OSError) as error:
            boot.fail(stage, str(error))
            failed = failed or str(error)
            continue
        notify(f"STATUS=Running ({name} stage)")
        errors = boot.run(stage)
        answer(connection, name, errors)
        if errors:
            failed = failed or f"{name}: {boot.first_error(stage)}"
    doors.close()
    notify(f"STATUS={'Failed: ' + failed if failed else 'Completed'}".replace("\n", " "))
    notify("STOPPING=1")
    return 1 if failed else 0
