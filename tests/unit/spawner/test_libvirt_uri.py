"""Which connection URIs are understood, and what is said of the others."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from spawner.compute.libvirt.node import require_fitting_user, require_passable
from spawner.compute.libvirt.uri import ConnectionUri, Scope, parse
from spawner.compute.qemu.user import User
from spawner.errors import InvalidSpec


@pytest.mark.parametrize(
    ("text", "scope", "host"),
    [
        ("qemu:///system", Scope.SYSTEM, ""),
        ("qemu:///session", Scope.SESSION, ""),
        ("qemu+unix:///system?socket=/run/x/libvirt-sock", Scope.SYSTEM, ""),
        ("qemu+ssh://root@host-2/system", Scope.SYSTEM, "host-2"),
        ("qemu+ssh://host-2:2222/session?keyfile=/k", Scope.SESSION, "host-2"),
        ("qemu+libssh2://host-2/system", Scope.SYSTEM, "host-2"),
        ("qemu+tls://[2001:db8::1]/system", Scope.SYSTEM, "2001:db8::1"),
        ("qemu://host-2/system", Scope.SYSTEM, "host-2"),
    ],
)
def test_uris_of_libvirts_qemu_driver(text: str, scope: Scope, host: str) -> None:
    assert parse(text) == ConnectionUri(text, scope, host)
    assert parse(text).is_local == (not host)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its scheme is ''"),
        ("xen:///system", "its scheme is 'xen'"),
        ("test:///default", "its scheme is 'test'"),
        ("qemu+carrier-pigeon://host/system", "libvirt knows no transport 'carrier-pigeon'"),
        ("qemu:///embed?root=/tmp/x", "its path is '/embed'"),
        ("qemu:///", "its path is '/'"),
        ("qemu+ssh:///system", "the transport ssh needs a host"),
        ("qemu+unix://host/system", "the transport unix goes to no other host"),
        ("qemu+ssh://root:hunter2@host/system", "it carries a password"),
    ],
)
def test_other_uris_are_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse(text)
    assert why in str(caught.value)
    assert "Write qemu:///system" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "uid", "wrong"),
    [
        ("qemu:///system", 0, ""),
        ("qemu:///session", 1000, ""),
        ("qemu:///session", 0, "root's own session runs QEMU as root"),
        ("qemu:///system", 1000, "the system's daemon runs QEMU as another user"),
        ("qemu+ssh://host/system", 1000, ""),
    ],
)
def test_sp_20_qemu_is_never_root_and_can_be_handed_what_is_ours(text: str, uid: int, wrong: str) -> None:
    if not wrong:
        require_fitting_user(parse(text), uid)
        return
    with pytest.raises(InvalidSpec, match=wrong):
        require_fitting_user(parse(text), uid)


def test_qemu_on_another_host_must_be_able_to_pass_to_the_state() -> None:
    # pytest's own temporary directories are closed to others.
    with tempfile.TemporaryDirectory(prefix="gp", dir="/tmp") as public:
        state = Path(public) / "state"
        (state / "instances").mkdir(parents=True)
        for path, mode in ((state.parent, 0o711), (state, 0o700), (state / "instances", 0o711)):
            path.chmod(mode)
        stranger = User(state.stat().st_uid + 1, state.stat().st_gid + 1)
        with pytest.raises(InvalidSpec) as caught:
            require_passable(state / "instances", stranger, "host-2")
        who = f"{stranger.uid}:{stranger.gid}"
        assert str(caught.value) == (
            f"--state: QEMU on host-2 runs as {who}, which may not pass {state}. "
            f"chmod o+x {state}, which must be at the same path there."
        )
        for user in (None, User(0, 0), User(state.stat().st_uid, state.stat().st_gid)):
            require_passable(state / "instances", user, "host-2")
        state.chmod(0o711)
        require_passable(state / "instances", stranger, "host-2")
