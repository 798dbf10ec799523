"""Run by the Python of Nova's environment: build a drive from a directory with `nova.virt.configdrive`.

python nova_builder.py ROOT IMAGE [COUNT]     prints the seconds of each of COUNT drives, one a line
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace


def main(root: Path, image: str, count: int = 1) -> None:
    """Write the tree below `root` to `image`, `count` times."""
    from nova import conf  # type: ignore[import-not-found]  # Nova lives in an environment of its own
    from nova.virt import configdrive  # type: ignore[import-not-found]  # as above

    conf.CONF([], project="nova", default_config_files=[])
    files = [
        (str(path.relative_to(root)), path.read_bytes()) for path in sorted(root.rglob("*")) if path.is_file()
    ]
    metadata = SimpleNamespace(metadata_for_config_drive=lambda: files)
    for _ in range(count):
        started = time.perf_counter()
        with configdrive.ConfigDriveBuilder(instance_md=metadata) as builder:
            builder.make_drive(image)
        print(time.perf_counter() - started)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1)
