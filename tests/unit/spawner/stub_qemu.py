#!/usr/bin/python3 -IS
"""A program that plays QEMU for the tests: takes its command line, speaks its QMP, and misbehaves on request.

`-cpu MODE` says how (see MODES). It imports little, so that it starts in milliseconds.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

GREETING = {
    "QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}
}


LISTENING: dict[str, socket.socket] = {}


def accepted(name: str) -> socket.socket:
    """A connection on the inherited listening socket of the chardev `name`: the first, or the next one."""
    if name in LISTENING:
        return LISTENING[name].accept()[0]
    for value in sys.argv:
        if value.startswith(f"socket,id={name},"):
            fields = dict(part.split("=") for part in value.split(",")[1:])
            LISTENING[name] = socket.socket(fileno=int(fields["fd"]))
            return LISTENING[name].accept()[0]
    raise SystemExit(f"stub: there is no chardev {name}")


def say(qmp: socket.socket, message: object) -> None:
    qmp.sendall(json.dumps(message).encode() + b"\n")


def shut_down(qmp: socket.socket, reason: str) -> None:
    stamp = {"seconds": 1, "microseconds": 2}
    say(qmp, {"event": "SHUTDOWN", "data": {"guest": True, "reason": reason}, "timestamp": stamp})
    time.sleep(0.05)
    os._exit(0)


def commands(qmp: socket.socket) -> Iterator[dict[str, str]]:
    """The commands as they come: JSON texts with nothing between them."""
    pending = ""
    while chunk := qmp.recv(65536):
        pending += chunk.decode()
        while pending:
            try:
                command, end = json.JSONDecoder().raw_decode(pending)
            except ValueError:
                break
            yield command
            pending = pending[end:].lstrip()


def reboot(qmp: socket.socket) -> None:
    """The guest restarts itself, which ends us unless we were told otherwise."""
    time.sleep(0.5)
    if "-no-reboot" in sys.argv:
        shut_down(qmp, "guest-reset")


def serve(qmp: socket.socket, mode: str) -> None:
    """Answer QMP commands until one of them ends us."""
    say(qmp, GREETING)
    for command in commands(qmp):
        if mode == "deaf" and command["execute"] != "qmp_capabilities":
            continue
        answer = {"status": "running"} if command["execute"] == "query-status" else {}
        say(qmp, {"return": answer} | ({"id": command["id"]} if "id" in command else {}))
        if command["execute"] == "quit":
            shut_down(qmp, "host-qmp-quit")
        if command["execute"] == "system_powerdown" and mode != "stubborn":
            shut_down(qmp, "guest-shutdown")
        if command["execute"] == "qmp_capabilities":
            after_start(qmp, mode)


def after_start(qmp: socket.socket, mode: str) -> None:
    """What the guest does by itself."""
    if mode in ("guest-shutdown", "guest-reset", "guest-panic"):
        shut_down(qmp, mode)
    if mode == "silent-on-kvm" and "accel=kvm" not in " ".join(sys.argv):
        shut_down(qmp, "guest-shutdown")
    if mode == "reboots":
        threading.Thread(target=reboot, args=(qmp,), daemon=True).start()
    if mode == "no-space":
        stamp = {"seconds": 1, "microseconds": 2}
        error = {"device": "", "node-name": "disk0", "operation": "write", "action": "stop", "nospace": True}
        say(
            qmp, {"event": "BLOCK_IO_ERROR", "data": {**error, "reason": "No space left"}, "timestamp": stamp}
        )
    if mode == "crash-later":
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "event-flood":
        stamp = {"seconds": 1, "microseconds": 2}
        for _ in range(20000):
            say(qmp, {"event": "SHUTDOWN", "data": {"reason": "x" * 100}, "timestamp": stamp})


def flood(console: socket.socket, mibytes: int) -> None:
    """A line of ANSI, NUL and broken UTF-8, again and again; then a last one."""
    chunk = b"\x1b[31m\x00\xff flood\r\n" * 4096
    console.sendall(b"the first line\r\n")
    for _ in range(mibytes * (1 << 20) // len(chunk)):
        console.sendall(chunk)
    console.sendall(b"the last line\r\n")


def echo(agent: socket.socket, console: socket.socket) -> None:
    """What is told to the agent comes back as the name of a stage, and on the console."""
    while line := agent.recv(65536):
        console.sendall(line)
        event = {"event": "start", "name": line.decode().strip(), "uptime_s": 1.0}
        agent.sendall(json.dumps(event).encode() + b"\n")


def typed(console: socket.socket) -> None:
    """What is typed comes back."""
    while data := console.recv(65536):
        console.sendall(b"you said: " + data)


def main() -> None:
    mode = sys.argv[sys.argv.index("-cpu") + 1]
    # Whoever does not choose the processor puts a file beside this program.
    if os.path.exists(f"{__file__}.mode"):  # noqa: PTH110 - pathlib costs start-up
        with open(f"{__file__}.mode") as file:  # noqa: PTH123
            mode = file.read()
    if mode == "dies":
        print("stub: bad argument\n" * 1000, file=sys.stderr)
        raise SystemExit(1)
    if mode in ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"):
        os.kill(os.getpid(), getattr(signal, mode))
    if mode == "noisy":
        os.write(2, b"noise " * (2 << 20 >> 2))
    if mode == "unkillable":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    console = accepted("console")
    agent = accepted("agent")
    if mode.startswith("flood-"):
        flood(console, int(mode[6:]))
    if mode == "agent":
        agent.sendall(b'{"event":"start","name":"init-local","uptime_s":1.5}\nrubbish\n')
        agent.sendall(b'{"event":"result","status":"done"}\n')
    if mode == "echo":
        os.write(2, b"the stub's last words\n")
        threading.Thread(target=echo, args=(agent, console), daemon=True).start()
        threading.Thread(target=typed, args=(console,), daemon=True).start()
    qmp = accepted("qmp")
    if mode == "garbage":
        qmp.sendall(b"\x00\xff not QMP\n" * 100)
    elif mode == "huge-line":
        qmp.sendall(b'{"QMP": "' + b"x" * (2 << 20))
    elif mode == "hang-up":
        qmp.close()
    elif mode != "no-greeting":
        while True:
            serve(qmp, "stubborn" if mode == "unkillable" else mode)
            qmp = accepted("qmp")
            if mode == "rubbish-later":
                qmp.sendall(b"\x00\xff not QMP\n" * 100)
                break
    time.sleep(60)


if __name__ == "__main__":
    main()
