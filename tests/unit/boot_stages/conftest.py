"""A guest made from plain data: files below a temporary root, a distribution, programs, prepared answers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from boot_stages import actions
from boot_stages.apply import Effects
from boot_stages.commands import RecordedCommands, Reply
from boot_stages.distros import distro_of
from boot_stages.facts import Clock, Cloud, Facts

EPOCH_S = 1795262400.0  # Sat, 21 Nov 2026 12:00:00 UTC


class Guest:
    """A root directory with what a case says is in it, and what was done to it."""

    def __init__(self, root: Path, facts: Mapping[str, Any]) -> None:
        self.root = root
        self.lines: list[str] = []
        self.shown: list[bytes] = []
        self.powered: list[actions.ChangePower] = []
        self.posted: list[tuple[str, dict[str, str] | bytes]] = []
        self.pages: dict[str, bytes] = {url: text.encode() for url, text in facts.get("pages", {}).items()}
        for path, content in facts.get("files", {}).items():
            _put(root, path, content)
        self.commands = RecordedCommands(
            str(root), self.lines.append, _replies(facts.get("replies", ())), facts.get("have", ())
        )
        self.facts = Facts(
            str(root),
            _cloud(facts.get("cloud", {})),
            distro_of({"ID": facts.get("distro", "debian")}),
            self.commands,
            clock=lambda: Clock(EPOCH_S, 12.5),
            random_bytes=lambda size: bytes(index * 7 % 256 for index in range(size)),
            render_jinja=_render,
            system=facts.get("system", {}),
            was_cut=facts.get("was_cut", False),
        )
        self.effects = Effects(
            str(root),
            self.commands,
            web=self,
            console=self.shown.append,
            later=self.powered.append,
            apply_owners=False,
        )

    def get(self, url: str, _headers: dict[str, str], _tries: int) -> bytes:
        """The prepared page, or the error of a web that has none."""
        if url not in self.pages:
            raise OSError("404 not found")
        return self.pages[url]

    def post(self, url: str, content: bytes, _tries: int) -> int:
        """Keep what was posted; a prepared page is the status."""
        if url not in self.pages:
            raise OSError("connection refused")
        self.posted.append((url, content))
        return int(self.pages[url])

    def post_form(self, url: str, fields: dict[str, str], _tries: int, _wait_s: float) -> None:
        """Keep what was posted."""
        if url not in self.pages:
            raise OSError("connection refused")
        self.posted.append((url, fields))


def _cloud(said: Mapping[str, Any]) -> Cloud:
    fields: dict[str, Any] = {"instance_id": "i-1", **{name: _frozen(value) for name, value in said.items()}}
    if "random_seed" in fields:
        fields["random_seed"] = fields["random_seed"].encode()
    return Cloud(**fields)


def _frozen(value: object) -> object:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value


def _put(root: Path, path: str, content: object) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = {"content": content}
    assert isinstance(content, dict)
    if "link" in content:
        target.symlink_to(content["link"])
    elif content.get("directory"):
        target.mkdir(exist_ok=True)
    else:
        target.write_text(content.get("content", ""))
    if "mode" in content:
        target.chmod(int(content["mode"], 8))


def _replies(replies: Sequence[Mapping[str, Any]]) -> list[Reply]:
    return [
        Reply(
            tuple(each["match"]),
            each.get("rc", 0),
            each.get("stdout", "").encode(),
            each.get("stderr", "").encode(),
            each.get("times", 0),
        )
        for each in replies
    ]


def _render(template: str, names: Mapping[str, object]) -> str:
    """Jinja as the agent renders it, without the sandbox around it."""
    import jinja2

    text = template.partition("\n")[2] if template.startswith("## template:") else template
    try:
        environment = jinja2.Environment(trim_blocks=True, extensions=["jinja2.ext.do"])
        return environment.from_string(text).render(**names) + ("\n" if text.endswith("\n") else "")
    except jinja2.TemplateError as error:
        raise ValueError(str(error)) from error


@pytest.fixture
def make_guest(tmp_path: Path) -> Callable[..., Guest]:
    """Make a guest from the `facts` of a case, given as keywords."""

    def make(**facts: Any) -> Guest:
        root = tmp_path / "guest"
        root.mkdir(exist_ok=True)
        return Guest(root, facts)

    return make
