"""What `guestling image bake` refuses before it starts, and how the helper guest's answers are taken."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from guestling.main import main
from image_harness.errors import HelperFailed, NotAnImage
from image_harness.helper import guest, pack


def _backed(tmp_path: Path) -> Path:
    """A qcow2 that reads another file."""
    base, image = tmp_path / "base.raw", tmp_path / "image.qcow2"
    base.write_bytes(bytes(2 << 20))
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(image)]
    subprocess.run(argv, check=True)
    with image.open("ab") as file:
        file.truncate(2 << 20)
    return image


@pytest.mark.parametrize("action", ["bake", "seal"])
def test_sp_09_an_image_with_a_backing_file_is_refused(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = _backed(tmp_path)
    assert main(["image", action, str(image)]) == 2
    assert "not safe to use: backing_file" in capsys.readouterr().err
    assert not (tmp_path / "cache" / "images").exists(), "no guest was even made"


@pytest.mark.parametrize(
    ("words", "files", "fault"),
    [
        (["/no/such"], {}, "/no/such: No such file or directory. Give the file of an image."),
        (
            ["IMAGE", "--datasource", "Azure"],
            {},
            "--datasource: Azure: there is none. Use NoCloud, ConfigDrive,",
        ),
        (["IMAGE", "--user-data", "U"], {"U": "#cloud-config\na: [\n"}, "U"),
        (["IMAGE", "--user-data", "U"], {"U": "#cloud-boothook\necho\n"}, "a boothook cannot be baked."),
        (["IMAGE", "--vendor-data", "V"], {"V": "#!/bin/sh\n"}, "a script cannot be baked."),
    ],
)
def test_what_cannot_be_baked_is_named(
    words: list[str],
    files: dict[str, str],
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {"IMAGE": "x", **files}.items():
        (tmp_path / name).write_text(content)
    assert main(["image", "bake", *words]) == 2
    assert fault in capsys.readouterr().err
    assert (tmp_path / "IMAGE").read_text() == "x"


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (None, HelperFailed, "gave no answer (powered off: last words). The image was not changed."),
        (b"{", HelperFailed, "is no JSON"),
        (b"[" * 200_000, HelperFailed, "is no JSON"),
        (b"[1]", HelperFailed, "is not as agreed"),
        (json.dumps({"failed": "no root \x1b[2J"}).encode(), NotAnImage, r"no root \x1b[2J."),
    ],
)
def test_sp_24_the_answer_of_a_guest_that_an_image_may_have_taken_over(
    answer: bytes | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as raised:
        guest._checked(Path("x.qcow2"), answer, "powered off: last words")
    assert words in str(raised.value)


def test_an_answer_that_claims_to_be_longer_than_it_may_is_none(tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    answer.write_bytes(guest.ANSWER_MAGIC + b"%16d" % (guest._ANSWER_LIMIT + 1) + b"{}")
    assert guest._read(answer) is None
    answer.write_bytes(guest.ANSWER_MAGIC + b"%16d" % 2 + b"{}and what was there before")
    assert guest._read(answer) == b"{}"


def test_all_that_runs_inside_is_packed() -> None:
    inside = {path.name for path in (pack.HARNESS / "helper/inside").glob("*.py")}
    assert {name.rpartition("/")[2] for name in pack._INSIDE if name.startswith("helper/inside/")} == inside
    assert all((pack.HARNESS / name).is_file() for name in pack._INSIDE)
