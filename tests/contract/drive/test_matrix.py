"""Every writer against every reader: one tree, the same bytes. The table in the docs is made by a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from configdrive import reader
from tests.contract.drive.readers import READERS, Reader
from tests.contract.drive.writers import WRITERS, Writer

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "docs/reference/drive-matrix.md"
REWRITE = os.environ.get("GUESTLING_GOLDEN") == "rewrite"
HEAD = """# Which writer's drives are read by which reader

`yes`: the reader finds every file of the drive, byte for byte, for every layout that the writer makes (blkid:
the label and the type; fsck.vfat: nothing to mend). `-`: not that reader's file system.

Made by `GUESTLING_GOLDEN=rewrite .venv/bin/pytest tests/contract/drive`, which writes it only when every cell
has been tried; each later run must come to the same table. cloud-init is that of Debian 13: it reads what
xorriso or mtools unpacked, so that no kernel has to mount. What a kernel sees is tested in a guest
(`tests/boot/test_drive_in_a_kernel.py`).

"""
PAIRS = [
    pytest.param(writer, each, layout, id=f"{writer.name} - {each.name} - {layout}")
    for writer in WRITERS
    for each in READERS
    if writer.filesystem in each.filesystems
    for layout in writer.layouts
]


TRIED: set[tuple[str, str, str]] = set()


def tree_of(layout: str) -> dict[str, bytes]:
    """The good drive of the fixtures."""
    return reader.read(ROOT / "fixtures/drive" / layout)


@pytest.mark.timeout(900)  # the first to ask for Nova waits until pip has fetched it
@pytest.mark.parametrize(("writer", "reader_", "layout"), PAIRS)
def test_cd_13_what_one_writes_the_other_reads(
    writer: Writer, reader_: Reader, layout: str, tmp_path: Path
) -> None:
    tree = tree_of(layout)
    image = writer.write(tree, layout, tmp_path)
    reader_.check(image, tree, layout, tmp_path)
    TRIED.add((writer.name, reader_.name, layout))


def test_the_table_in_the_docs_names_every_pair() -> None:
    """A cell says `yes` because the test above stands for it: a pair that fails there fails the run."""
    columns = ["written by \\ read by", *(each.name for each in READERS)]
    rows = [columns, ["---"] * len(columns), *map(_row, WRITERS)]
    table = HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if REWRITE:
        assert len(TRIED) == len(PAIRS), (
            "some pairs failed or were skipped: the table would say more than is known"
        )
        TABLE.write_text(table)
    assert TABLE.read_text() == table


def _row(writer: Writer) -> list[str]:
    return [writer.name, *("yes" if writer.filesystem in each.filesystems else "-" for each in READERS)]
