"""Golden cases: every topology on every renderer. `./dev golden` rewrites them; read the diff."""

from __future__ import annotations

import os

import pytest

from tests.unit.guest_agent.network.topologies import FIXTURES, TARGETS, Target, as_text, names, rendered

REWRITE = os.environ.get("GUESTLING_GOLDEN") == "rewrite"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("name", names())
def test_ga_4_6_topology_renders_as_recorded(name: str, target: Target) -> None:
    path = FIXTURES / name / f"{target.name}.txt"
    text = as_text(rendered(name, target))
    if REWRITE:
        path.write_text(text)
    assert text == path.read_text()


def test_there_are_the_topologies_that_were_asked_for() -> None:
    wanted = {
        "single-static", "dual-stack", "ipv6-only", "bond", "bond-vlan", "bridge", "vlan", "two-nics-metrics",
        "policy-routes", "mtu-9000", "on-link-gateway", "metadata-route",
    }  # fmt: skip
    assert wanted <= set(names())
