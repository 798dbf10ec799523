"""A directory of documents, followed: broken ones are reported, the others served (BAD-2, MS-D08)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from metadata_server.catalogue import Catalogue
from metadata_server.instance_files import InstanceFiles

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"


def write(path: Path, uuid: str, **fields: object) -> None:
    """Replace a document whole, as an editor does: a new file under the old name."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"uuid": uuid, **fields}))
    temporary.replace(path)


@pytest.fixture
def files(tmp_path: Path) -> InstanceFiles:
    write(tmp_path / "a.json", A, identity={"source_ips": ["10.0.0.1"]})
    (tmp_path / "b.yaml").write_text(f"uuid: {B}\nname: b\n")
    (tmp_path / "README").write_text("not a document")
    return InstanceFiles(tmp_path, Catalogue())


def test_bad_02_one_bad_file_leaves_the_others(files: InstanceFiles) -> None:
    (files.path / "c.yaml").write_text("uuid: 1\nhostnam: x\n")
    faults = files.load()
    assert [(fault.line, fault.path) for fault in faults] == [(1, "uuid"), (2, "hostnam")]
    assert sorted(files.catalogue) == [A, B]


def test_a_change_is_taken(files: InstanceFiles) -> None:
    assert files.load() == ()
    write(files.path / "a.json", A, name="changed")
    files.load()
    instance = files.catalogue.get(A)
    assert instance is not None
    assert instance.name == "changed"


def test_ms_d08_the_last_good_version_stays(files: InstanceFiles) -> None:
    files.load()
    write(files.path / "a.json", "nonsense")
    assert len(files.load()) == 1
    assert A in files.catalogue
    assert files.failed_reloads == 1
    files.load()
    assert files.failed_reloads == 1
    write(files.path / "a.json", A)
    assert files.load() == ()


def test_removal_takes_effect_at_once(files: InstanceFiles) -> None:
    files.load()
    (files.path / "a.json").unlink()
    files.load()
    assert sorted(files.catalogue) == [B]
    assert files.catalogue.find(("ip", "", "10.0.0.1")) is None


def test_a_file_that_changes_its_uuid_leaves_nothing_behind(files: InstanceFiles) -> None:
    files.load()
    other = "cccccccc-0000-4000-8000-000000000003"
    write(files.path / "a.json", other)
    files.load()
    assert sorted(files.catalogue) == sorted([B, other])


def test_a_uuid_of_two_files_is_refused(files: InstanceFiles) -> None:
    write(files.path / "z.json", A)
    (fault,) = files.load()
    assert (fault.source.endswith("z.json"), fault.path) == (True, "uuid")
    (files.path / "a.json").unlink()
    files.load()
    assert files.load() == ()
    assert A in files.catalogue


def test_an_address_of_two_files_is_refused(files: InstanceFiles) -> None:
    write(
        files.path / "z.json", "dddddddd-0000-4000-8000-000000000004", identity={"source_ips": ["10.0.0.1"]}
    )
    (fault,) = files.load()
    assert (fault.source.endswith("z.json"), fault.path) == (True, "identity")


def test_an_address_may_move_in_one_step(files: InstanceFiles) -> None:
    files.load()
    write(files.path / "a.json", A, identity={"source_ips": ["10.0.0.2"]})
    write(
        files.path / "0.json", "dddddddd-0000-4000-8000-000000000004", identity={"source_ips": ["10.0.0.1"]}
    )
    assert files.load() == ()
    tree = files.catalogue.find(("ip", "", "10.0.0.1"))
    assert tree is not None
    assert tree.instance.uuid.startswith("dddd")


async def test_follow_sees_a_change(files: InstanceFiles) -> None:
    task = asyncio.create_task(files.follow())
    try:
        async with asyncio.timeout(5):
            while len(files.catalogue) < 2:  # noqa: ASYNC110  # nothing tells when it has looked
                await asyncio.sleep(0.01)
            write(files.path / "a.json", A, name="later")
            while (  # noqa: ASYNC110  # as above
                found := files.catalogue.get(A)
            ) is None or found.name != "later":
                await asyncio.sleep(0.01)
    finally:
        task.cancel()


async def test_x_3_documents_are_written_and_removed(files: InstanceFiles) -> None:
    files.load()
    uuid = "eeeeeeee-0000-4000-8000-000000000005"
    await files.write(uuid, {"uuid": uuid, "name": "new"})
    files.load()
    assert uuid in files.catalogue
    assert await files.delete(uuid)
    assert uuid not in files.catalogue
    assert not await files.delete(uuid)
    assert sorted(path.name for path in files.path.iterdir()) == ["README", "a.json", "b.yaml"]
