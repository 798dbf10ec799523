"""Seal and compare images: a directory, an ext4 file system, a partitioned raw or qcow2 file.

`way_to` chooses how the files are read, and says why. Nothing of an image is mounted or run on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from image_harness import images, root_diff, root_view, seal
from image_harness.bake import changed_copy
from image_harness.errors import HelperFailed
from image_harness.helper import guest

Say = Callable[[str], None]


class Way(Enum):
    """How the files of an image are reached."""

    DIRECTORY = "as a directory"
    DEBUGFS = "by debugfs"
    HELPER = "by a helper guest"


@dataclass(frozen=True)
class Choice:
    """A way, and why it was taken."""

    way: Way
    why: str


@dataclass(frozen=True)
class Sealed:
    """What was found, and what of it is left."""

    found: tuple[seal.Finding, ...]
    left: tuple[seal.Finding, ...]


@dataclass(frozen=True)
class Question:
    """Something of one's own to be asked of a root: `function` (`module:name`) is called inside with it.

    `order`: its second argument. `code`: path as the helper guest imports it -> file here; the packages of
    the agent are there already.
    """

    function: str
    order: Mapping[str, object]
    code: Mapping[str, Path]


def way_to(path: Path, *, write: bool) -> Choice:
    """How the files of `path` are reached; `write`: to change them."""
    if path.is_dir():
        return Choice(Way.DIRECTORY, "it is one")
    if write:
        return Choice(Way.HELPER, "debugfs can read file systems and must not be trusted to change them")
    if root_view.is_ext(path):
        return Choice(Way.DEBUGFS, "it is an ext4 file system as a whole, and debugfs is quickest")
    return Choice(Way.HELPER, "it has partitions, or a file system that no program here reads")


def sealed(path: Path, out: Path, *, mend: bool, say: Say) -> Sealed:
    """Inspect an image, and with `mend` make `out` of it, clean; directories are mended in place.

    Must be called in the main thread. Raises NotARoot, NotAnImage, HarnessError, SpawnerError, OSError.
    """
    choice = way_to(path, write=mend)
    if choice.way is Way.HELPER:
        guest.image_format(path)
    say(f"{path}: read {choice.way.value}: {choice.why}")
    if choice.way is not Way.HELPER:
        with root_view.opened(path) as root:
            found = seal.inspect(root)
            if mend:
                seal.clean(root, found)
            return Sealed(found, seal.inspect(root) if mend else found)
    job = guest.Job({"do": "seal", "mend": mend}, {})
    tiny = images.get("tiny", say).image
    if not mend:
        return _sealed(path, guest.run(tiny, job, path, write=False, say=say))
    with changed_copy(path, out) as copy:
        return _sealed(path, guest.run(tiny, job, copy, write=True, say=say, name=path))


def _sealed(path: Path, answer: dict[str, Any]) -> Sealed:
    try:
        found, left = (
            tuple(seal.from_json(each) for each in answer["done"][name]) for name in ("found", "left")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HelperFailed(path, "the helper guest's findings are not as agreed") from error
    return Sealed(found, left)


def described(path: Path, aspects: Iterable[str], say: Say) -> dict[str, dict[str, str]]:
    """What is in an image, aspect by aspect, as `root_diff` words it. Raises as `sealed` does."""
    choice = way_to(path, write=False)
    if choice.way is Way.HELPER:
        guest.image_format(path)
    say(f"{path}: read {choice.way.value}: {choice.why}")
    wanted = list(aspects)
    if choice.way is not Way.HELPER:
        with root_view.opened(path) as root:
            return {aspect: root_diff.ASPECTS[aspect](root) for aspect in wanted}
    answer = guest.run(
        images.get("tiny", say).image, guest.Job({"do": "describe", "aspects": wanted}, {}), path,
        write=False, say=say,
    )  # fmt: skip
    done = answer["done"]
    if not isinstance(done, dict) or not all(_is_described(done.get(aspect)) for aspect in wanted):
        raise HelperFailed(path, "the helper guest's list is not as agreed")
    return done


def asked(name: str, question: Question, say: Say) -> object:
    """What a question's function answers on the root of an image: a file, or an image of the store by name.

    Must be called in the main thread. Raises UnknownImage, NotAnImage, HarnessError, SpawnerError.
    """
    job = guest.Job(
        {"do": "ask", "function": question.function, "order": dict(question.order)}, question.code
    )
    path = Path(name)
    if not path.is_file():
        image = images.get(name, say).image
        if image.disk is None:
            say(f"{name}: asked in the guest itself: it lives in memory")
            return guest.run_on_itself(image, job)["done"]
        path = image.disk
    tiny = images.get("tiny", say).image
    say(f"{name}: asked in a helper guest: nothing of an image is mounted here")
    return guest.run(tiny, job, path, write=False, say=say)["done"]


def _is_described(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
