"""Carry out what user data and vendor data ask for: keep them, run boothooks, store scripts, merge config.

What the documents mean is decided in `parts.py` and `user_data.py`; this file keeps their files and runs
what must run at once. Source: guest-agent.md 1.6, 1.9, 2.1, 2.2.
"""

from __future__ import annotations

from boot_stages.commands import Command
from boot_stages.log import logger
from boot_stages.value import Value
from guest_agent import user_data
from guest_agent.errors import UserDataUnusable
from guest_agent.formats import NOT_MULTIPART, PART_HANDLER
from guest_agent.parts import Part
from guest_agent.state import (
    CLOUD,
    CLOUD_CONFIG,
    USER_DATA,
    VENDOR2_CLOUD_CONFIG,
    VENDOR_CLOUD_CONFIG,
    VENDOR_DATA,
    VENDOR_DATA2,
    Place,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from guest_agent.datasources.source_data import SourceData
    from guest_agent.limits import Limits
    from guest_agent.machine import Machine
    from guest_agent.merge import Merged
    from guest_agent.parts import Expansion, Fetch
    from guest_agent.user_data import Call, Consumption

    class Handlers(Protocol):
        """The part handlers that this document brings along."""

        def load(self, part: Part) -> tuple[str, ...]:
            """Load one; the content types it takes. Raises PartRefused."""

        def call(self, step: Call) -> None:
            """Give a part to the handler of its type."""

        def end(self) -> None:
            """Tell every handler that there are no more parts."""


LOG = logger("user_data")

SCRIPT_MODE = 0o700
BOOTHOOK_LIMIT_S = 3600.0


class Delivery(Value):
    """One of the three documents a cloud may deliver: where it is kept, and the key that switches it."""

    name: str
    field: str
    raw: Place
    merged: Place
    switch: str = ""


# In the order in which they are consumed; in the merged config the first wins over the later ones.
DELIVERIES = (
    Delivery("user-data", "user_data", USER_DATA, CLOUD_CONFIG),
    Delivery("vendor-data", "vendor_data", VENDOR_DATA, VENDOR_CLOUD_CONFIG, "vendor_data"),
    Delivery("vendor-data2", "vendor_data2", VENDOR_DATA2, VENDOR2_CLOUD_CONFIG, "vendor_data2"),
)


# Headers that every part gets from its type, name and content.
COMPOSED = frozenset({"content-type", "content-disposition", "content-transfer-encoding", "mime-version"})
# How a document that was not delivered stands in the file of the whole of it.
NOTHING = Part(NOT_MULTIPART, "part-001", b"", 1)


class Fetched(Value):
    """The documents taken apart, by name, includes and all."""

    expansions: Mapping[str, Expansion]


class Consumer:
    """Works on the data of one instance."""

    def __init__(
        self,
        machine: Machine,
        instance_directory: str,
        instance_id: str,
        config: Mapping[str, object],
        limits: Limits,
    ) -> None:
        self._machine = machine
        self._directory = instance_directory
        self._instance_id = instance_id
        self._config = config
        self._limits = limits

    def keep_raw(self, source: SourceData) -> None:
        """Keep the documents as they were delivered, 0600 from the first byte."""
        for delivery in DELIVERIES:
            self._keep(delivery.raw, _raw(getattr(source, delivery.field)))

    def fetch(self, source: SourceData) -> Fetched:
        """Take the documents apart and keep the whole of each. Raises UserDataUnusable for user data; vendor
        data that is unusable is left out with a warning.
        """
        from guest_agent.parts import Expansion, expand

        expansions = {}
        for delivery in DELIVERIES:
            blob = getattr(source, delivery.field)
            if not blob:
                self._keep(Place(f"{delivery.raw.path}.i", 0o600), _whole((NOTHING,)))
                continue
            try:
                expansion = expand(blob, delivery.name, fetch=self._fetcher(), limits=self._limits)
            except UserDataUnusable as error:
                if not delivery.switch:
                    raise
                expansion = Expansion((), errors=(f"{delivery.name} is not used: {error.text}",))
            if delivery.switch:
                # What the cloud's operator got wrong must not fail the boot of its user (GA-P14).
                told = tuple(("WARNING", text) for text in expansion.errors)
                expansion = Expansion(expansion.parts, (*expansion.warnings, *told))
            for level, text in expansion.warnings:
                LOG.log(level, "%s", text)
            self._keep(Place(f"{delivery.raw.path}.i", 0o600), _whole(expansion.parts))
            expansions[delivery.name] = expansion
        return Fetched(expansions)

    def consume(self, fetched: Fetched, source: SourceData, *, is_first_run: bool) -> dict[str, Consumption]:
        """Store, run and merge; the meaning of each document by its name. Errors are records, not raised.

        `is_first_run`: this instance's first consumption, when per-instance part handlers are called.
        """
        found = {}
        for delivery in DELIVERIES:
            expansion = fetched.expansions.get(delivery.name)
            if expansion is None or not self._is_wanted(delivery):
                # User data without a cloud-config, and vendor data that does not count: empty files.
                if expansion is not None or not delivery.switch:
                    self._keep(delivery.merged, b"")
                continue
            found[delivery.name] = self._consume(delivery, expansion, source, is_first_run)
        return found

    def _consume(
        self, delivery: Delivery, expansion: Expansion, source: SourceData, is_first_run: bool
    ) -> Consumption:
        parts = expansion.parts
        if delivery.name == "user-data":
            parts = user_data.for_launch_index(parts, source.launch_index)
        has_handler = any(part.type == PART_HANDLER for part in parts)
        handlers = self._handlers(is_first_run=is_first_run) if has_handler else None
        done = user_data.consume(
            parts,
            delivery.name,
            render=self.render,
            load_handler=handlers.load if handlers is not None else None,
            excluded=self._excluded(delivery),
            limits=self._limits,
        )
        for level, text in done.warnings:
            LOG.log(level, "%s", text)
        for step in done.steps:
            self._take(step, handlers)
        if handlers is not None:
            handlers.end()
        self._keep(delivery.merged, cloud_config_text(done))
        return done

    def _take(self, step: object, handlers: Handlers | None) -> None:
        """Carry out one step, in the order of the document."""
        if isinstance(step, user_data.Script):
            folder = f"{CLOUD}/scripts/{step.folder}"
            if step.folder.startswith("scripts"):
                folder = f"{self._directory}/{step.folder}"
            self._keep(Place(f"{folder}/{step.filename}", SCRIPT_MODE), step.content)
        elif isinstance(step, user_data.Boothook):
            self._boothook(step)
        elif isinstance(step, user_data.Call) and handlers is not None:
            handlers.call(step)

    def _boothook(self, hook: user_data.Boothook) -> None:
        path = f"{self._directory}/boothooks/{hook.filename}"
        self._keep(Place(path, SCRIPT_MODE), hook.content)
        environment = (("INSTANCE_ID", self._instance_id),)
        command = Command(
            (path,), environment=environment, show=True, timeout_s=BOOTHOOK_LIMIT_S, stage="init-network"
        )
        answer = self._machine.commands.run(command)
        if answer.status != 0:
            LOG.warning("Boothook %s failed with exit status %d: %s", path, answer.status, answer.tail())

    def _keep(self, place: Place, content: bytes) -> None:
        path = place.path if place.path.startswith("/") else f"{self._directory}/{place.path}"
        if self._machine.read_bytes(path) != content:
            self._machine.write(path, content, place.mode)

    def _is_wanted(self, delivery: Delivery) -> bool:
        """`allow_userdata`, `vendor_data.enabled` and `vendor_data2.enabled`."""
        if not delivery.switch:
            return str(self._config.get("allow_userdata", True)).lower() not in {"false", "no", "off", "0"}
        table = self._config.get(delivery.switch)
        if table is None:
            return True
        if not isinstance(table, dict):
            LOG.warning("%s: a map is expected; %s is not used", delivery.switch, delivery.name)
            return False
        return str(table.get("enabled", True)).lower() not in {"false", "no", "off", "0"}

    def _excluded(self, delivery: Delivery) -> tuple[str, ...]:
        table = self._config.get(delivery.switch) if delivery.switch else None
        names = table.get("disabled_handlers") if isinstance(table, dict) else None
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    def _fetcher(self) -> Fetch:
        """What fetches the includes of one document; most have none."""
        made: list[Fetch] = []

        def fetch(url: str, once: bool) -> bytes:
            if not made:
                from guest_agent.includes import fetcher

                made.append(fetcher(self._machine, self._directory, self._limits))
            return made[0](url, once)

        return fetch

    def _handlers(self, *, is_first_run: bool) -> Handlers | None:
        """The part handlers of a document; None where its code must not run."""
        from guest_agent.part_handlers import handlers_for

        return handlers_for(
            self._machine, self._directory, self._config, is_first_run=is_first_run, limits=self._limits
        )

    def render(self, template: bytes, place: str) -> user_data.Rendered:
        """A template with this instance's data. Raises BadTemplate."""
        from guest_agent import json_guard, templates
        from guest_agent.errors import BadTemplate
        from guest_agent.state import RUN_SENSITIVE_DATA

        content = self._machine.read_bytes(RUN_SENSITIVE_DATA.path)
        if content is None:
            raise BadTemplate(f"{place}: there is no {RUN_SENSITIVE_DATA.path} to render it with")
        data = json_guard.load(content, RUN_SENSITIVE_DATA.path)
        return templates.render(template, data if isinstance(data, dict) else {}, place, self._limits)


def load_cloud_configs(machine: Machine, directory: str) -> tuple[tuple[str, Merged], ...]:
    """What an earlier process has merged, highest first: user data, vendor data 2, vendor data."""
    from guest_agent import merge, yaml_guard
    from guest_agent.errors import AgentError

    found = []
    for delivery in (DELIVERIES[0], DELIVERIES[2], DELIVERIES[1]):
        path = f"{directory}/{delivery.merged.path}"
        content = machine.read_bytes(path)
        if not content:
            continue
        try:
            value = yaml_guard.load(content, path)
        except AgentError as error:
            LOG.warning("%s; it is left out", error)
            continue
        if isinstance(value, dict):
            layer = merge.Layer(delivery.name, value)
            found.append((delivery.name, merge.put_on(merge.NOTHING, layer, merge.PARTS_RULE)))
    return tuple(found)


def _raw(blob: object) -> bytes:
    """A document as it was delivered: bytes, text, or a list as JSON."""
    if blob is None:
        return b""
    if isinstance(blob, bytes):
        return blob
    if isinstance(blob, str):
        return blob.encode("utf-8", "surrogateescape")
    from guest_agent.plain import to_json

    return to_json(blob).encode()


def _whole(parts: tuple[Part, ...]) -> bytes:
    """The parts as one MIME document."""
    if not parts:
        return b""
    import binascii

    from guest_agent import mime_writer

    # The same boundary for the same parts; it need not be hard to guess, only absent from what is plain text.
    whole = b"\0".join(part.payload for part in parts)
    boundary = f"==============={binascii.crc32(whole):08x}{len(whole):08x}=="
    while boundary.encode() in whole:
        boundary = f"={boundary}"
    leaves = [(part.type, part.filename, part.payload, _further_headers(part)) for part in parts]
    return mime_writer.compose(leaves, boundary)


def _further_headers(part: Part) -> dict[str, str]:
    """The headers of a part that say more than its type, name and encoding: `Merge-Type` and the like."""
    return {name.title(): value for name, value in part.headers if name not in COMPOSED}


def cloud_config_text(done: Consumption) -> bytes:
    """cloud-config.txt: a comment for each part, also the rejected ones, then the merged config."""
    if not done.used and not done.config.value:
        return b""
    names = [f"# {name}" for name in done.used] + [f"# {name} (rejected)" for name in done.rejected]
    head = ["#cloud-config", "", f"# from {len(names)} files", *names, ""]
    text = "\n".join([*head, to_yaml(done.config.value)])
    _know(text, done.config.value)
    return text.encode("utf-8", "surrogateescape")


def _know(text: str, value: object) -> None:
    """The next boot reads this file before it has read the user data."""
    from guest_agent import yaml_guard

    known = yaml_guard.KNOWN[-1]
    if known is not None:
        known.add(text, _plain(value), None)


def to_yaml(value: object) -> str:
    """YAML as cloud-init writes it: explicit start and end, indent 4, no anchors."""
    from guest_agent import plain_yaml, yaml_guard

    plain, known = _plain(value), yaml_guard.KNOWN[-1]
    text = known.find_written(plain) if known is not None else None
    if text is None:
        block = plain_yaml.write(plain, is_sorted=True)
        text = dumped(plain) if block is None else f"---\n{block}...\n"
        if known is not None:
            known.add_written(plain, text)
    return text


def dumped(plain: object) -> str:
    """The same by PyYAML, whatever the value holds."""
    import yaml

    base: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[valid-type,misc]  # the C dumper where PyYAML has one
        def ignore_aliases(self, _data: object) -> bool:
            return True

    text = yaml.dump(
        plain,
        Dumper=Dumper,
        line_break="\n",
        indent=4,
        explicit_start=True,
        explicit_end=True,
        default_flow_style=False,
    )
    return str(text)


def _plain(value: object) -> object:
    """Maps and tuples as the dumper knows them."""
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    return value
