"""What one instance answers: every path of its trees, rendered when first asked for and kept.

A `Tree` belongs to one version of one instance; a change of the instance makes a new one, so that a client
sees the old or the new version of a file, never a mix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum

from instance_metadata import ec2, nocloud
from instance_metadata.documents import Inputs, documents_of, media_type
from instance_metadata.fields import Json
from instance_metadata.instance import Instance
from instance_metadata.versions import GRIZZLY, OPENSTACK, listed

# Stands for the random seed in a rendered document and is cut out again: what is sent is fresh each time.
SEED_LENGTH = 684
IDENTITY = "dynamic/instance-identity"
_SEED_MARK = "?" * SEED_LENGTH


class Kind(Enum):
    """What a page needs besides its bytes."""

    STATIC = "static"
    SEEDED = "seeded"
    PASSWORD = "password"  # noqa: S105  # the name of a page
    VENDOR_DATA = "vendor_data"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. A seeded page is `body`, a fresh seed, `rest`; `etag` covers what does not vary."""

    body: bytes
    content_type: str
    etag: str
    kind: Kind = Kind.STATIC
    rest: bytes = b""
    # Whether the same bytes may be sent until the instance changes; a list of versions depends on the date.
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for the trees of all instances of a server."""

    ec2_profile: ec2.Profile = "nova"
    vendor_data: Json = None
    dynamic_vendor_data: bool = False
    lift_cloud_init: bool = False
    signed_identity: bool = False
    profiles: frozenset[str] = field(default_factory=lambda: frozenset({"openstack", "ec2"}))


class Tree:
    """The pages of one instance."""

    __slots__ = ("_ec2", "_pages", "instance", "options", "ready")

    def __init__(self, instance: Instance, options: Options) -> None:
        self.instance = instance
        self.options = options
        self._pages: dict[str, Page] = {}
        self._ec2: dict[str, dict[str, bytes]] = {}
        # Answers by raw request target, for targets that the rules have answered the plain way before.
        self.ready: dict[str, object] = {}

    def openstack(self, path: str, today: date) -> Page | None:
        """The page at a path below `/openstack`, None when there is none."""
        if path == "":
            return replace(_page("", "\n".join(listed(today)).encode()), repeatable=False)
        page = self._pages.get(path)
        if page is None:
            page = self._render_openstack(path)
            if page is not None:
                self._pages[path] = page
        return page

    def ec2(self, path: str) -> Page | None:
        """The page at a path below the EC2 root (`latest/meta-data/...`), None when there is none."""
        version, _, below = path.partition("/")
        if version not in ec2.versions(self.options.ec2_profile):
            return None
        files = self._ec2.get(version)
        if files is None:
            files = self._ec2[version] = ec2.files(
                self.instance, version, self.options.ec2_profile, signed=self.options.signed_identity
            )
        body = files.get(below)
        if body is None:
            return None
        directory, _, name = below.rpartition("/")
        is_signature = directory == IDENTITY and name in ec2.SIGNATURES
        return _page("", body, Kind.SIGNATURE if is_signature else Kind.STATIC)

    def nocloud(self, name: str) -> Page | None:
        """One of the four NoCloud files, None for another name."""
        body = nocloud.tree(self.instance, self.options.vendor_data).get(name)
        return None if body is None else _page(name, body)

    def with_vendor_data(self, version: str, replies: Mapping[str, Json]) -> Page:
        """`vendor_data2.json` with the replies of the dynamic targets."""
        return self._document(version, "vendor_data2.json", replies) or _page("vendor_data2.json", b"{}")

    def _render_openstack(self, path: str) -> Page | None:
        first, _, rest = path.partition("/")
        if first == "content":
            return self._content(rest)
        if first not in OPENSTACK:
            return None
        if rest == "":
            names = [document.name for document in documents_of(self.instance, first)]
            return _page("", "\n".join(names).encode())
        if rest == "password":
            return _page("", b"", Kind.PASSWORD) if first >= GRIZZLY else None
        return self._document(first, rest, {})

    def _content(self, number: str) -> Page | None:
        if len(number) != 4 or not (number.isascii() and number.isdigit()):
            return None
        if int(number) >= len(self.instance.files):
            return None
        return _page("", self.instance.files[int(number)].content)

    def _document(self, version: str, name: str, replies: Mapping[str, Json]) -> Page | None:
        for document in documents_of(self.instance, version):
            if document.name == name and document.render is not None:
                options = self.options
                inputs = Inputs(_SEED_MARK, options.vendor_data, replies, options.lift_cloud_init)
                body = document.render(self.instance, version, inputs)
                return self._kinds(name, version)(name, body)
        return None

    def _kinds(self, name: str, version: str) -> Callable[[str, bytes], Page]:
        if name == "meta_data.json" and version >= GRIZZLY:
            return _seeded_page
        if name == "vendor_data2.json" and self.options.dynamic_vendor_data:
            return lambda name, body: _page(name, body, Kind.VENDOR_DATA)
        return _page


def root_listing(options: Options) -> Page:
    """`/`: the EC2 versions, the one page that needs no instance (ID-8)."""
    return _page("", "\n".join(ec2.versions(options.ec2_profile)).encode())


def _etag(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return f'"{digest.hexdigest()[:32]}"'


def _page(name: str, body: bytes, kind: Kind = Kind.STATIC) -> Page:
    return Page(body, media_type(name, body), _etag(body), kind)


def _seeded_page(name: str, body: bytes) -> Page:
    before, _, after = body.rpartition(_SEED_MARK.encode())
    return Page(before, media_type(name, b""), _etag(before, after), Kind.SEEDED, after)
