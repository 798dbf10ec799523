"""The program that becomes QEMU: ties it to its parent, takes away its rights, then executes it.

Its arguments are `KEY=VALUE ... -- PROGRAM ARGUMENT ...`. It runs in a fork of `launch_server`, or as a
program of its own for a probe, because none of this may happen in the spawner: threads forbid work between
fork and exec. It imports next to nothing. In order:

0. the control group that `cgroup` names, for itself and all that it starts, unless `fork` began it there;
1. a network namespace of its own (and a user namespace, when not root) with a relay to the metadata socket,
   or the namespace that `netns` names, and the tap in it that `tap` names;
2. limits, then the unprivileged user when we are root, then no-new-privileges;
3. PR_SET_PDEATHSIG, after the change of user, which clears it; and a look whether the parent still lives;
4. QEMU, by exec: its process id is ours. The relay is its child and dies with it.

With `detach` the program is nobody's child, and there is no parent to die with.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000
SYS_CLONE3 = 435
CLONE_ARGS = struct.Struct("=11Q")
"""As clone3(2) has it; the signal at the child's end is the fifth, the group's descriptor the last."""
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000

FIRST_FD = 900
"""Numbers that programs find their descriptors under start here.

Above all that the launch server itself has open.
"""
FDS_LIMIT = 64

EXIT_LAUNCH = 125
"""Exit status when the launcher itself could not do its work; standard error says why."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_HOLDING_GIL = ctypes.PyDLL(None, use_errno=True)
"""The same for a call from which two processes return: the child finds everything as the parent left it."""


def main(arguments: list[str]) -> int:
    """Become the program after `--`; returns only with a failure."""
    cut = arguments.index("--")
    options = dict(argument.split("=", 1) for argument in arguments[:cut])
    program = arguments[cut + 1 :]
    failed = _detach() if "detach" in options else -1
    try:
        _enter_group(options)
        _enter_network(options)
        _limit(options.get("limits", ""))
        drop_to(options)
        if "parent" in options:
            die_with(int(options["parent"]))
        os.execv(program[0], program)  # noqa: S606 - becoming QEMU is what this program is for
    except OSError as error:
        print(f"launch: {error}", file=sys.stderr)
    if failed >= 0:
        os.write(failed, b"!")
    return EXIT_LAUNCH


def fork(arguments: list[str]) -> int:
    """As os.fork, for a child that calls `main(arguments)`; only in a process of a single thread.

    The child begins in its control group, and `cgroup` is taken out of `arguments`: to move a process that
    lives, the kernel waits for a grace period of its own, 5 to 25 ms. Where it cannot begin there (Linux
    before 5.7, or a filter of system calls), `main` moves it. Source: clone(2), CLONE_INTO_CGROUP.
    """
    named = [word for word in arguments[: arguments.index("--")] if word.startswith("cgroup=")]
    if named:
        pid = _clone_into(named[0].partition("=")[2])
        if pid >= 0:
            arguments.remove(named[0])
            return pid
    return os.fork()


def _clone_into(group: str) -> int:
    """The child's process id, 0 in the child, -1 when there is none."""
    try:
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1  # moving it will say why
    wanted = CLONE_ARGS.pack(CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, directory)
    pid = int(_HOLDING_GIL.syscall(ctypes.c_long(SYS_CLONE3), wanted, ctypes.c_size_t(CLONE_ARGS.size)))
    os.close(directory)
    return pid


def _detach() -> int:
    """Go on as nobody's child. Whoever started us sees us end once the program has begun, or has failed to.

    Returns the descriptor to which a failure is written; executing the program closes it.
    """
    begun, ours = os.pipe()
    if os.fork() == 0:
        os.close(begun)
        os.setsid()
        return ours
    os.close(ours)
    os._exit(EXIT_LAUNCH if os.read(begun, 1) else 0)


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _enter_group(options: dict[str, str]) -> None:
    if "cgroup" in options:
        with open(f"{options['cgroup']}/cgroup.procs", "w") as processes:  # noqa: PTH123 - as below
            processes.write("0")


def _enter_network(options: dict[str, str]) -> None:
    if "netns" in options:
        with open(options["netns"], "rb") as namespace:  # noqa: PTH123 - pathlib costs 5 ms of start-up
            _call("setns", namespace.fileno(), CLONE_NEWNET)
    if "tap" in options:
        _open_tap(*options["tap"].split(":"))
    if "relay" not in options:
        return
    own_network()
    launcher = os.getpid()
    if os.fork() == 0:
        _become_relay(options, launcher)


def _open_tap(interface: str, number: str) -> None:
    """Attach to the tap `interface` as descriptor `number`, which QEMU inherits.

    Its user may not do that itself.
    """
    import fcntl

    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", interface.encode(), IFF_TAP | IFF_NO_PI))
    os.dup2(tap, int(number), inheritable=True)
    os.close(tap)


def own_network() -> None:
    """Leave for a network namespace of our own; without root, inside a user namespace of our own.

    The user keeps the id it has: after exec nothing in there holds a capability, as it would with id 0.
    """
    if os.geteuid() == 0:
        _call("unshare", CLONE_NEWNET)
        return
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
    for name, text in (("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1"), ("uid_map", f"{uid} {uid} 1")):
        with open(f"/proc/self/{name}", "w") as control:  # noqa: PTH123 - as above
            control.write(text)


def _become_relay(options: dict[str, str], launcher: int) -> None:
    """The forked child: addresses and listeners while it still may, then relay until QEMU is gone.

    When it cannot, it takes QEMU down with it: a guest without metadata would only fail later and less
    clearly.
    """
    try:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        from spawner.network import loopback, relay

        loopback.bring_up_loopback(relay.METADATA_ADDRESS)
        sockets = relay.listeners()
        drop_to(options)
        die_with(launcher)
        relay.serve(lambda _: options["relay"], sockets)
    except OSError as error:
        print(f"relay: {error}", file=sys.stderr, flush=True)
        os.kill(launcher, signal.SIGTERM)
    finally:
        os._exit(EXIT_LAUNCH)


def _limit(limits: str) -> None:
    """`limits` is `NAME:VALUE,...` with the names of setrlimit(2), as `CORE:0`. Never raises a limit."""
    for item in filter(None, limits.split(",")):
        name, _, value = item.partition(":")
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        wanted = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(which, (wanted, wanted))


def drop_to(options: dict[str, str]) -> None:
    if "uid" in options:
        os.setgroups([int(group) for group in options["groups"].split(",") if group])
        os.setgid(int(options["gid"]))
        os.setuid(int(options["uid"]))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def die_with(parent: int) -> None:
    """Be killed when `parent` ends, also when it already has. It must have forked us from its main thread."""
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise OSError(0, "the parent is gone")
