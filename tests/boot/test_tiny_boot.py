"""The whole road, three times: the same instance by metadata service, config drive and NoCloud disk."""

from __future__ import annotations

import asyncio

import pytest

from image_harness import boot, changes, store
from image_harness.demo import instance as demo
from image_harness.progress import Source
from spawner.compute.driver import Reason
from tests.boot.conftest import INSTANCE_ID, DemoBoot

# The first test may have to build the image.
pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

DATASOURCES = {
    Source.METADATA: "DataSourceOpenStackLocal",
    Source.CONFIG_DRIVE: "DataSourceConfigDrive",
    Source.NOCLOUD: "DataSourceNoCloud",
}

# Files that every boot has, but whose content tells of the source, of times, process ids or chance.
CONTENT_MAY_DIFFER = (
    r"/run/cloud-init/instance-data(-sensitive)?\.json",
    r"/run/cloud-init/sem/[^/]+",
    r"/run/cloud-init/cloud-id",
    r"/run/udhcpc\.[^/]+\.pid",
    r"/var/lib/cloud/data/(status|result)\.json",
    r"/var/lib/cloud/data/previous-datasource",
    r"/var/lib/cloud/sem/[^/]+",
    r"/var/lib/cloud/instances/[^/]+/(datasource|boot-finished|changes\.jsonl|obj\.pkl|sem/[^/]+)",
    # Which documents were read is a matter of the source.
    r"/var/lib/cloud/instances/[^/]+/known-documents\.json",
    # As the source gave it: OpenStack's document, or NoCloud's network-config. What was rendered is compared.
    r"/var/lib/cloud/instances/[^/]+/network-config\.json",
    r"/var/log/cloud-init\.log",
    r"/etc/ssh/ssh_host_ed25519_key(\.pub)?",
)
# Named after the cloud.
MAY_BE_ABSENT = (r"/run/cloud-init/cloud-id-[a-z]+",)


@pytest.fixture(params=list(Source), ids=lambda source: source.value)
def outcome(request: pytest.FixtureRequest, demo_boot: DemoBoot) -> boot.Outcome:
    """The demo's boot from each source."""
    return demo_boot(request.param)


def test_the_guest_reports_success_and_powers_off(outcome: boot.Outcome) -> None:
    assert outcome.result is not None, outcome.console.decode(errors="replace")[-3000:]
    assert outcome.result.errors == ()
    assert outcome.result.recoverable_errors == {}
    assert outcome.result.status == "done"
    assert outcome.ending.reason is Reason.POWERED_OFF


def test_the_guest_has_what_was_asked_for(outcome: boot.Outcome) -> None:
    files = outcome.changed
    assert files is not None
    assert [claim.text for claim in demo.CLAIMS if not claim.holds(files)] == []


def test_all_four_stages_ran_and_every_module_succeeded(outcome: boot.Outcome) -> None:
    assert outcome.result is not None
    assert list(outcome.result.stages) == ["init-local", "init-network", "modules-config", "modules-final"]
    assert all(times.finished for times in outcome.result.stages.values())
    ran = {module.name for module in outcome.result.modules}
    assert ran >= {"bootcmd", "write_files", "set_hostname", "users_groups", "ssh", "runcmd", "scripts_user"}
    # Skipped are those whose keys the config has not.
    assert {module.result for module in outcome.result.modules} == {"SUCCESS", "SKIPPED"}


@pytest.mark.parametrize("source", list(Source), ids=lambda source: source.value)
def test_the_source_that_was_offered_is_the_one_used(source: Source, demo_boot: DemoBoot) -> None:
    result = demo_boot(source).result
    assert result is not None
    assert DATASOURCES[source] in (result.datasource or "")


def test_the_metadata_service_is_asked_only_when_it_is_the_source(demo_boot: DemoBoot) -> None:
    asked = demo_boot(Source.METADATA).requests
    assert "meta_data.json" in " ".join(record.path for record in asked)
    assert {record.status for record in asked} <= {200, 404}
    assert demo_boot(Source.CONFIG_DRIVE).requests == ()
    assert demo_boot(Source.NOCLOUD).requests == ()


def test_every_network_backend_leads_to_the_metadata(
    tiny: store.Image, other_networks: list[boot.Host]
) -> None:
    if not other_networks:
        pytest.skip("only one network backend works on this machine")
    for host in other_networks:
        order = boot.Order(tiny, demo.instance(INSTANCE_ID), deadline_s=120, list_changes=True)
        outcome = asyncio.run(boot.boot(order, host))
        assert outcome.succeeded, (
            host.network.backend.name,
            outcome.console.decode(errors="replace")[-2000:],
        )
        assert [claim.text for claim in demo.CLAIMS if not claim.holds(outcome.changed or {})] == []


@pytest.mark.parametrize("source", [Source.CONFIG_DRIVE, Source.NOCLOUD], ids=lambda source: source.value)
def test_every_source_leaves_the_same_guest_behind(source: Source, demo_boot: DemoBoot) -> None:
    by_service, by_drive = demo_boot(Source.METADATA).changed, demo_boot(source).changed
    assert by_service is not None
    assert by_drive is not None
    for path in ("/etc/passwd", "/etc/network/interfaces.d/50-cloud-init", "/var/lib/cloud/instance"):
        assert path in by_service, "the list is of the whole guest"
    found = changes.differences(
        by_service, by_drive, except_for=MAY_BE_ABSENT, except_content_of=CONTENT_MAY_DIFFER
    )
    assert found == []
