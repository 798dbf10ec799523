"""Put the agent into an image file without booting it: the host's side of `helper/inside/bake.py`.

The work is done on a copy, which takes the image's place when all went well: a bake that fails changes
nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from image_harness import agent, cache, images, programs
from image_harness.agent_packages import build as packages
from image_harness.errors import NotAnImage
from image_harness.helper import guest
from image_harness.layers import Say


@dataclass(frozen=True)
class Order:
    """What shall be in the image. `by_package`: install the agent's package, which removes a cloud-init.

    `datasources`: the agent's datasource_list, empty to leave it. `vendor_data`, `user_data`: their text.
    """

    by_package: bool = False
    datasources: tuple[str, ...] = ()
    vendor_data: str | None = None
    user_data: str | None = None


def bake(order: Order, image: Path, out: Path, say: Say) -> dict[str, object]:
    """Bake into `image`, giving `out`, which may be the same; tells what was done.

    Must be called in the main thread. Raises NotAnImage, HarnessError, SpawnerError.
    """
    guest.image_format(image)
    tiny = images.get("tiny", say).image
    with cache.scratch() as work, changed_copy(image, out) as copy:
        job = guest.Job(
            {
                "do": "bake",
                "way": "package" if order.by_package else "files",
                "datasources": list(order.datasources),
                "vendor_data": order.vendor_data,
                "user_data": order.user_data,
            },
            dict(_payload(work, with_packages=order.by_package)),
        )
        answer = guest.run(tiny, job, copy, write=True, say=say, name=image)
    done = answer["done"]
    assert isinstance(done, dict)  # noqa: S101 -- `guest` has looked
    return {**done, "root": answer["root"]}


@contextmanager
def changed_copy(image: Path, out: Path) -> Iterator[Path]:
    """A copy of an image to change, which becomes `out` in one step, and only when all went well."""
    if not image.is_file():
        raise NotAnImage(image, "there is no such file", "Give the file of an image")
    out.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    os.close(descriptor)
    copy = Path(name)
    try:
        programs.run(["cp", "--sparse=always", "--reflink=auto", str(image), str(copy)])
        yield copy
        shutil.copymode(image, copy)
        copy.replace(out)
    finally:
        copy.unlink(missing_ok=True)


def _payload(work: Path, *, with_packages: bool) -> Iterator[tuple[str, Path]]:
    """What the helper guest carries into the image: path below its payload -> file here."""
    packages.write_slimmed(work / "modules")
    yield from _below(work / "modules", "modules")
    yield from _below(agent.PACKAGING, "packaging")
    # The pure-Python part, for images without PyYAML: it runs on every Python from 3.8.
    for path in sorted(Path(yaml.__file__).parent.glob("*.py")):
        yield f"yaml/{path.name}", path
    if with_packages:
        for each in packages.build(work / "packages", ("deb", "rpm", "apk")):
            yield f"packages/{each.family}.{each.form}", each.path


def _below(directory: Path, name: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{name}/{path.relative_to(directory).as_posix()}", path
