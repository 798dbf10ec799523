"""User data and vendor data: from parts to one cloud-config and the scripts beside it (spec 2.2 - 2.4).

`consume` decides and changes nothing: it gives the merged configuration with its origins, and the steps
(scripts to store, boothooks to run, part-handler calls) in the order of the document.
"""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent import formats, merge
from guest_agent.errors import AgentError, BadTemplate, PartRefused, UnreadableYaml
from guest_agent.limits import DEFAULT, Limits
from guest_agent.parts import Expansion, Part, expand, for_launch_index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Render = Callable[[bytes, str], "Rendered"]  # (template, place) -> text; raises BadTemplate
    LoadHandler = Callable[[Part], tuple[str, ...]]  # -> the types it takes; raises PartRefused

__all__ = ["Boothook", "Call", "Consumption", "Expansion", "Part", "Rendered", "Script", "consume", "expand",
           "file_name", "for_launch_index"]  # fmt: skip

SAFE = frozenset("_-.()0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
BOOTHOOK_HEADER = b"#cloud-boothook"
UNHANDLED_SHOWN = 24  # characters of a part nobody takes that go to the log


class Rendered(Value):
    """A template's text, and the names it used that have no value."""

    text: bytes
    missing: tuple[str, ...] = ()


class Script(Value):
    """To be stored 0700 in `folder`: `scripts` or `scripts/vendor` of the instance, or `per-boot` and so."""

    folder: str
    filename: str
    content: bytes


class Boothook(Value):
    """To be stored 0700 in `boothooks` of the instance and run at once, on every boot."""

    filename: str
    content: bytes


class Call(Value):
    """A part for the custom handler that asked for its type."""

    type: str
    filename: str
    payload: bytes
    headers: tuple[tuple[str, str], ...]


class Consumption(Value):
    """What a document means. `used` and `rejected` name the cloud-config parts; the rest as in Expansion."""

    config: merge.Merged
    used: tuple[str, ...]
    rejected: tuple[str, ...]
    steps: tuple[Script | Boothook | Call, ...]
    warnings: tuple[tuple[str, str], ...]
    errors: tuple[str, ...]


def no_templates(_template: bytes, place: str) -> Rendered:
    """For callers without instance data."""
    raise BadTemplate(f"{place}: there is no instance data to render it with")


def consume(
    parts: Iterable[Part],
    source: str = "user-data",
    *,
    render: Render = no_templates,
    load_handler: LoadHandler | None = None,
    excluded: Iterable[str] = (),
    limits: Limits = DEFAULT,
) -> Consumption:
    """The meaning of `parts` of `source` (`user-data`, `vendor-data` or `vendor-data2`).

    `excluded` are types that this source may not use. Without `load_handler` part handlers are refused.
    """
    work = _Consumer(source, render, load_handler, limits)
    skipped = frozenset(excluded)
    for part in parts:
        if part.type not in skipped:
            try:
                work.part(part)
            except PartRefused as error:
                work.warn(error.text)
    return work.result()


def file_name(name: str, number: int) -> str:
    """`name` as a file name: `/` becomes `_`, unsafe letters go; the part's number when nothing is left."""
    kept = "".join(letter for letter in name.replace("/", "_") if letter in SAFE)
    return kept if kept.strip(".") else f"part-{number:03d}"


class _Consumer:
    def __init__(self, source: str, render: Render, load_handler: LoadHandler | None, limits: Limits) -> None:
        self.source = source
        self.render = render
        self.load_handler = load_handler
        self.limits = limits
        self.config = merge.NOTHING
        self.used: list[str] = []
        self.rejected: list[str] = []
        self.steps: list[Script | Boothook | Call] = []
        self.warnings: list[tuple[str, str]] = []
        self.taken: dict[str, set[str]] = {}
        self.custom: set[str] = set()

    def result(self) -> Consumption:
        return Consumption(
            self.config, tuple(self.used), tuple(self.rejected), tuple(self.steps), tuple(self.warnings), ()
        )

    def part(self, part: Part) -> None:
        """One part to whom it belongs. Raises PartRefused."""
        if part.type in self.custom:
            self.steps.append(Call(part.type, part.filename, part.payload, part.headers))
        elif part.type in (formats.CLOUD_CONFIG, formats.JSON_PATCH):
            self.cloud_config(part)
        elif part.type == formats.JINJA:
            self.template(part)
        elif part.type == formats.PART_HANDLER:
            self.handler(part)
        elif part.type == formats.BOOTHOOK:
            content = _without_header(_unix_lines(part.payload))
            self.steps.append(Boothook(self.name(part, "boothooks"), content))
        elif part.type == formats.SCRIPT:
            folder = "scripts" if self.source == "user-data" else "scripts/vendor"
            self.steps.append(Script(folder, self.name(part, folder), _unix_lines(part.payload)))
        elif part.type in formats.SCRIPT_BY_FREQUENCY:
            folder = formats.SCRIPT_BY_FREQUENCY[part.type]
            self.steps.append(Script(folder, self.name(part, folder), _unix_lines(part.payload)))
        elif part.payload:
            self.unhandled(part)

    def cloud_config(self, part: Part) -> None:
        try:
            merged = self.patched(part) if part.type == formats.JSON_PATCH else self.put_on(part)
        except AgentError as error:
            self.rejected.append(part.filename)
            raise PartRefused(
                f"Failed at merging in cloud config part from {part.place}: {error.text}"
            ) from error
        self.config = merged
        self.used.append(part.filename)

    def put_on(self, part: Part) -> merge.Merged:
        from guest_agent import yaml_guard

        name = f"{self.source} {part.place}"
        loaded = yaml_guard.load_with_lines(part.payload, name, self.limits)
        if loaded.value is None:
            raise UnreadableYaml(name, "empty cloud config")
        if not isinstance(loaded.value, dict):
            raise UnreadableYaml(name, "a mapping is expected at the top. Write 'key: value' lines", 1)
        for text in loaded.repeated:
            self.warn(f"{name}: {text}; the last one counts. Keep one of them")
        header = part.header("merge-type", "x-merge-type")
        layer = merge.Layer(name, loaded.value, loaded.lines, header, part.chain)
        return merge.put_on(self.config, layer, merge.PARTS_RULE)

    def patched(self, part: Part) -> merge.Merged:
        from guest_agent import json_patch

        name = f"{self.source} {part.place}"
        operations = json_patch.read(part.payload, name, self.limits)
        value = json_patch.apply(dict(self.config.value), operations, name)
        if not isinstance(value, dict):
            raise UnreadableYaml(name, "the patch leaves something else than a mapping")
        return merge.replaced(self.config, value, json_patch.paths(operations), name, part.chain)

    def template(self, part: Part) -> None:
        rendered = self.render(part.payload, f"{self.source} {part.place}")
        if rendered.missing:
            names = ", ".join(rendered.missing)
            self.warn(f"{self.source} {part.place}: no value for the template's {names}")
        if not rendered.text.strip():
            return
        kind = formats.sniff(rendered.text)
        if kind not in formats.RENDERED:
            raise PartRefused(
                f"{self.source} {part.place}: the template gives {kind or 'no known type'}. "
                "It must begin with #cloud-config, #cloud-config-jsonp, #! or #cloud-boothook"
            )
        # The template's header line is gone: an empty one in its place keeps the line numbers right.
        payload = b"\n" + rendered.text if kind == formats.CLOUD_CONFIG else rendered.text
        self.part(part.replace(type=kind, payload=payload))

    def handler(self, part: Part) -> None:
        if self.load_handler is None:
            raise PartRefused(
                f"{self.source} {part.place}: part handlers are switched off (allow_part_handlers)"
            )
        self.custom.update(self.load_handler(part))

    def name(self, part: Part, folder: str) -> str:
        """A file name that no other part of this document has in `folder`."""
        taken = self.taken.setdefault(folder, set())
        wanted = name = file_name(part.filename, part.number)
        again = 1
        while name in taken:
            again += 1
            name = f"{wanted}-{again}"
        if again > 1:
            self.warn(f"{self.source} {part.place}: a part before it has this file name; stored as {name}")
        taken.add(name)
        return name

    def unhandled(self, part: Part) -> None:
        first = part.payload.decode("utf-8", "replace").split("\n", 1)[0][:UNHANDLED_SHOWN]
        kind = "non-multipart" if part.type == formats.NOT_MULTIPART else "unknown content-type"
        self.warn(f"Unhandled {kind} ({part.type}) {self.source}: {first!r}")

    def warn(self, text: str) -> None:
        self.warnings.append(("WARNING", text))


def _unix_lines(payload: bytes) -> bytes:
    """CR LF as LF, when the first line ends in it."""
    end = payload.find(b"\n")
    return payload.replace(b"\r\n", b"\n") if end > 0 and payload[end - 1 : end] == b"\r" else payload


def _without_header(payload: bytes) -> bytes:
    text = payload.lstrip()
    if text[: len(BOOTHOOK_HEADER)].lower() != BOOTHOOK_HEADER:
        return payload
    return text.partition(b"\n")[2].lstrip()
