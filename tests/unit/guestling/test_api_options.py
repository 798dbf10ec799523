"""What `guestling api` refuses before anything is started."""

from __future__ import annotations

import pytest

from guestling.api import default_libvirt_uri
from guestling.main import main


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--libvirt-uri", "xen:///"], "libvirt URI 'xen:///': its scheme is 'xen'"),
        (["--libvirt-uri", "qemu+ssh://u:p@h/system"], "libvirt URI 'h/system': it carries a password"),
        (["--network", "bridge"], "--network bridge: guests under libvirt have user networks"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["api", "--driver", "libvirt", *options]) == 2
    assert why in capsys.readouterr().err


def test_sp_20_the_default_daemon_runs_qemu_as_somebody_else_than_root() -> None:
    assert (default_libvirt_uri(0), default_libvirt_uri(1000)) == ("qemu:///system", "qemu:///session")
