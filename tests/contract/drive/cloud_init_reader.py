"""Run with stock cloud-init on the path: read an unpacked drive as its data source does, print it."""

from __future__ import annotations

import json
import sys


def main(layout: str, root: str) -> None:
    """Print one JSON object."""
    if layout == "openstack":
        from cloudinit.sources.DataSourceConfigDrive import (  # type: ignore[import-not-found]  # a peer, not ours
            read_config_drive,
        )

        results = read_config_drive(root)
        keep = ("metadata", "networkdata", "files", "userdata", "version")
        answer = {key: results.get(key) for key in keep}
    else:
        from cloudinit import util  # type: ignore[import-not-found]  # a peer, not ours

        answer = util.pathprefix2dict(root, ["user-data", "meta-data"], ["vendor-data", "network-config"])
    json.dump(answer, sys.stdout, default=lambda value: value.decode(errors="replace"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
