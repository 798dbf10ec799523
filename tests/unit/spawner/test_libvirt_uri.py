"""Which connection URIs are understood, and what is said of the others."""

from __future__ import annotations

import pytest

from spawner.compute.libvirt.node import require_fitting_user
from spawner.compute.libvirt.uri import ConnectionUri, Scope, parse
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
