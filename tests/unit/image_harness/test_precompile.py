"""Links in an image are the image's: what the host has under the same path is none of its business."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from image_harness.guest_python import COMPILER


def test_absolute_links_are_followed_inside_the_image(tmp_path: Path) -> None:
    library = tmp_path / "usr/lib/python3"
    library.mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/site.py").write_text("WHERE = 'image'\n")
    (library / "linked.py").symlink_to("/etc/site.py")
    (library / "to_nothing.py").symlink_to("/no/such/file.py")
    # On this host the path exists; in the image it does not.
    (library / "to_the_host.py").symlink_to(Path(__file__))
    (library / "round.py").symlink_to("round.py")
    argv = [sys.executable, str(COMPILER), str(tmp_path), "sourceless", "/usr/lib/python3"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # What leads nowhere in the image would lead nowhere in the guest.
    assert [path.name for path in library.iterdir()] == ["linked.pyc"]
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path = [{str(library)!r}]; import linked; print(linked.WHERE)",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.stdout == "image\n", shown.stderr
