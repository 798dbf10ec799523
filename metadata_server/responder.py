"""The rules of the service: `respond(request, instance, now_s)` decides, and does nothing.

What needs a clock, randomness, a store or another server is returned as a wish (`MintToken`, `StorePassword`,
...), which `app.py` carries out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias

from instance_metadata import nocloud
from instance_metadata.fields import is_json
from instance_metadata.instance import Instance
from metadata_server import paths, tokens
from metadata_server.http import NOT_FOUND, UNAVAILABLE, Request, Response, error
from metadata_server.listener import WELL_KNOWN_HOSTS, Listener, Mode
from metadata_server.pages import Kind, Options, Page, Tree, root_listing

MAX_PASSWORD_BYTES = 1020
MAX_BODY_BYTES = 64 << 10
MAX_GET_BODY_BYTES = 4 << 10
MAX_REPORT_BYTES = 16 << 10
TOKEN_PATH = "/latest/api/token"  # noqa: S105  # a path
TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105  # a header's name
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
REPORT = "latest/x_report"
_READ = ("GET", "HEAD")
_FORWARDED = ("x-forwarded-for", "forwarded", "via")


@dataclass(frozen=True, slots=True)
class Context:
    """What the rules need to know of the server and the listener that took the request.

    `token_now_s` is the time of the clock by which tokens end, None where that is the wall clock.
    """

    options: Options = field(default_factory=Options)
    token_keys: tuple[bytes, ...] = ()
    token_now_s: float | None = None
    hosts: frozenset[str] | None = None
    neutron_safe: bool = False
    legacy_methods: bool = False
    tokens_everywhere: bool = False
    reports: bool = False
    nocloud_at_root: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send this page; `seeded` ones get a fresh seed first."""

    page: Page
    head_only: bool = False


@dataclass(frozen=True, slots=True)
class MintToken:
    """Make a session token that lives `ttl_s` and travels `hop_limit` hops."""

    ttl_s: int
    hop_limit: int


@dataclass(frozen=True, slots=True)
class ReadPassword:
    head_only: bool = False


@dataclass(frozen=True, slots=True)
class StorePassword:
    """Store it unless there is one: 200, else 409."""

    password: bytes


@dataclass(frozen=True, slots=True)
class FetchVendorData:
    """Ask the dynamic targets, then send `vendor_data2.json` of this version."""

    version: str
    head_only: bool = False


@dataclass(frozen=True, slots=True)
class WaitForChange:
    """Hold the request until the document's ETag is another one, at most `timeout_s` (X-1)."""

    last_etag: str
    timeout_s: int


@dataclass(frozen=True, slots=True)
class AppendReport:
    """Keep what the guest says about itself (X-2)."""

    record: bytes


@dataclass(frozen=True, slots=True)
class SignIdentity:
    """Send a signature (`pkcs7`, `rsa2048`, `signature`) of the identity document."""

    name: str
    document: bytes
    head_only: bool = False


# What the rules cannot do themselves.
Wish: TypeAlias = (
    MintToken | ReadPassword | StorePassword | FetchVendorData | WaitForChange | AppendReport | SignIdentity
)
Outcome: TypeAlias = Response | Send | Wish


def respond(
    request: Request, instance: Instance | Tree | None, now_s: float, context: Context | None = None
) -> Outcome:
    """What to answer. `instance` is the one that asks, None when it is not known.

    `now_s` is Unix time: it decides which versions are listed and which tokens have ended.
    """
    context = context or Context()
    try:
        path = paths.normal(request.target)
    except paths.BadPath:
        return error(400)
    tree = Tree(instance, context.options) if isinstance(instance, Instance) else instance
    outcome = _refusal(request, context) or _answer(request, path, tree, now_s, context)
    return neutron_safe(outcome) if context.neutron_safe and isinstance(outcome, Response) else outcome


def _answer(request: Request, path: str | None, tree: Tree | None, now_s: float, context: Context) -> Outcome:
    if path is None:
        return NOT_FOUND
    if path == "/ec2" or path.startswith("/ec2/"):
        path = path[4:] or "/"
    if path == "/" and "ec2" in context.options.profiles:
        return _read(request, context, lambda: _conditional(request, root_listing(context.options), context))
    if tree is None:
        return NOT_FOUND
    if not tree.instance.ready:
        return UNAVAILABLE
    if path == "/openstack" or path.startswith("/openstack/"):
        return _openstack(request, path.removeprefix("/openstack").removeprefix("/"), tree, now_s, context)
    name = _nocloud_name(path, context)
    if name is not None:
        return _read(request, context, lambda: _conditional(request, tree.nocloud(name), context))
    if "ec2" not in context.options.profiles:
        return NOT_FOUND
    return _ec2(request, path, tree, now_s, context)


def _nocloud_name(path: str, context: Context) -> str | None:
    """The file of the NoCloud tree that a path means, None for another tree's path (NC-1, NC-2)."""
    if context.nocloud_at_root and path[1:] in nocloud.NAMES:
        return path[1:]
    if "nocloud" in context.options.profiles and path.startswith("/nocloud/"):
        return path[9:]
    return None


def _refusal(request: Request, context: Context) -> Response | None:
    """A name that is none of ours: a page in a guest's browser may be asking (DNS rebinding, MS-H01)."""
    if context.hosts is None:
        return None
    named = (paths.host_of(request.target), request.value("host"))
    for host in named:
        if host is not None and _host_name(host) not in context.hosts:
            return error(403, detail="host not allowed")
    return None


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].partition("%")[0].lower()
    return host.partition(":")[0].lower()


def allowed_hosts(listener: Listener, local_address: str | None) -> frozenset[str] | None:
    """The names a request may call this listener by; None where a signature proves who is asking."""
    if listener.mode in (Mode.PROXY, Mode.LB):
        return None
    names = {*WELL_KNOWN_HOSTS, *(host.lower() for host in listener.hosts)}
    if local_address is None:
        return frozenset({*names, "localhost", ""})
    address = local_address.partition("%")[0].lower()
    loopback = {"localhost"} if address.startswith("127.") or address == "::1" else set()
    return frozenset({*names, address, *loopback})


def _read(request: Request, context: Context, answer: Callable[[], Outcome]) -> Outcome:
    """GET and HEAD; anything else is 405 with Allow, or as GET where Nova's way is asked for (HTTP-1)."""
    if request.method in _READ or context.legacy_methods:
        return answer()
    return error(405, Allow="GET, HEAD")


def _conditional(request: Request, page: Page | None, context: Context) -> Outcome:
    if page is None:
        return NOT_FOUND
    wanted = request.value("if-none-match")
    if wanted is not None and not context.neutron_safe and _etag_matches(wanted, page.etag):
        return Response(304, headers=page_headers(page))
    return Send(page, head_only=request.method == "HEAD")


def _etag_matches(wanted: str, etag: str) -> bool:
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in wanted.split(","))


def page_headers(page: Page) -> tuple[tuple[str, str], ...]:
    """The headers of a page; what is secret or changes without notice is not kept by anyone (HTTP-8)."""
    if page.kind is Kind.PASSWORD:
        return (("Cache-Control", "no-store"),)
    return (("ETag", page.etag), ("Cache-Control", "private, max-age=0"))


def _openstack(request: Request, below: str, tree: Tree, now_s: float, context: Context) -> Outcome:
    if context.tokens_everywhere and (refused := _token_refusal(request, tree, now_s, context)) is not None:
        return refused
    if below == REPORT and context.reports:
        return _report(request)
    page = tree.openstack(below, datetime.fromtimestamp(now_s, UTC).date())
    if page is None:
        return NOT_FOUND
    version = below.partition("/")[0]
    head_only = request.method == "HEAD"
    if page.kind is Kind.PASSWORD:
        return _password(request, context)
    if page.kind is Kind.VENDOR_DATA:
        return _read(request, context, lambda: FetchVendorData(version, head_only))
    if below == "latest/meta_data.json" and (held := _change_wish(request)) is not None:
        return held
    return _read(request, context, lambda: _conditional(request, page, context))


def _password(request: Request, context: Context) -> Outcome:
    """OS-14: read, or store once."""
    if context.legacy_methods and request.method not in ("GET", "POST"):
        return error(400)  # the one place where Nova minds the method
    if request.method in _READ:
        return ReadPassword(head_only=request.method == "HEAD")
    if request.method != "POST":
        return error(405, Allow="GET, HEAD, POST")
    if request.value("content-encoding") is not None:
        return error(415)
    if not 0 < len(request.body) <= MAX_PASSWORD_BYTES:
        return error(400, detail=f"a password has 1 to {MAX_PASSWORD_BYTES} bytes")
    try:
        request.body.decode()
    except UnicodeDecodeError:
        return error(400, detail="a password is UTF-8 text")
    return StorePassword(request.body)


def _change_wish(request: Request) -> Outcome | None:
    query = paths.query(request.target)
    if query.get("wait_for_change") != "true" or request.method != "GET":
        return None
    seconds = query.get("timeout_sec", "60")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 3 and 1 <= int(seconds) <= 120):
        return error(400, detail="timeout_sec is a number from 1 to 120")
    return WaitForChange(query.get("last_etag", ""), int(seconds))


def _report(request: Request) -> Outcome:
    if request.method != "POST":
        return error(405, Allow="POST")
    if len(request.body) > MAX_REPORT_BYTES:
        return error(413)
    try:
        record = json.loads(request.body)
    except (ValueError, RecursionError):
        return error(400, detail="a report is JSON")
    return AppendReport(request.body) if is_json(record) else error(400, detail="a report is JSON")


def _ec2(request: Request, path: str, tree: Tree, now_s: float, context: Context) -> Outcome:
    imds = tree.instance.imds
    if not imds.endpoint:
        return error(403)
    if imds.tokens != "off":
        if path == TOKEN_PATH:
            return _token(request, imds.hop_limit)
        if request.method == "PUT" and path.endswith("/api/token"):
            return error(403)
    if request.method not in _READ and not context.legacy_methods:
        known = tree.ec2(path[1:]) is not None
        return error(405, Allow="GET, HEAD") if known or imds.tokens != "off" else NOT_FOUND
    refused = _token_refusal(request, tree, now_s, context)
    if refused is not None:
        return refused
    page = tree.ec2(path[1:])
    if page is not None and page.kind is Kind.SIGNATURE:
        return SignIdentity(path.rpartition("/")[2], page.body, request.method == "HEAD")
    return _conditional(request, page, context)


def _token(request: Request, hop_limit: int) -> Outcome:
    """`PUT /latest/api/token` (TOK-1 to TOK-4)."""
    if request.method != "PUT":
        return error(405, Allow="PUT")
    if any(request.values(name) for name in _FORWARDED):
        return error(403)
    ttl_s = tokens.parse_ttl(request.values(TTL_HEADER))
    if ttl_s is None:
        return error(400, detail=f"the TTL is a number of seconds from 1 to {tokens.MAX_TTL_S}")
    return MintToken(ttl_s, hop_limit)


def _token_refusal(request: Request, tree: Tree, now_s: float, context: Context) -> Response | None:
    """401 where a token is required and missing, or sent and bad (TOK-5 to TOK-7)."""
    mode = tree.instance.imds.tokens
    if mode == "off":
        return None
    offered = request.values(TOKEN_HEADER)
    if not offered:
        return error(401) if mode == "required" else None
    token_now_s = now_s if context.token_now_s is None else context.token_now_s
    if len(offered) == 1 and tokens.is_valid(context.token_keys, tree.instance.uuid, token_now_s, offered[0]):
        return None
    return error(401)


# What Neutron's agent passes on; any other status makes it drop the connection (ID-10).
_NEUTRON = {401: 403, 405: 400, 413: 400, 415: 400, 429: 503, 408: 400, 431: 400}


def neutron_safe(response: Response) -> Response:
    """The nearest status that Neutron's metadata agent knows."""
    status = _NEUTRON.get(response.status)
    if status is None:
        return response
    kept = tuple(pair for pair in response.headers if pair[0] == "Retry-After")
    return replace(error(status), headers=kept, close=response.close)
