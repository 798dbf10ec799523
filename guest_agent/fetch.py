"""HTTP as a boot needs it: whole answers or a clear failure, within one deadline.

Which statuses are asked again, how long to wait between tries and which redirects are followed are
tables here and nowhere else. `--http MAP` (spec section 8) answers in the place of the network.
"""

from __future__ import annotations

import os
import time

from boot_stages.value import Value
from guest_agent.errors import FetchFailed
from guest_agent.http_wire import Address, Reply, TooLarge, WireError, parse_address
from guest_agent.limits import DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    from guest_agent.http_map import HttpMap
    from guest_agent.machine import Machine

SILENCE = "no whole answer in time"
METADATA_V4 = "169.254.169.254"
FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 10.0
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Policy(Value):
    """How hard to try. `timeout_s` is for one try, `deadline_s` for all of them together."""

    timeout_s: float = 10.0
    tries: int = 6
    deadline_s: float = DEFAULT.download_total_s
    other_hosts: bool = False  # whether a redirect may lead to another host
    client_certificate: tuple[str, str] | None = None  # paths of certificate and key


METADATA = Policy()
INCLUDE = Policy(timeout_s=5.0, tries=11, other_hosts=True)


def delays_s(jitter: Callable[[], float]) -> Iterator[float]:
    """Waits between tries: doubling from 0.25 s to 10 s, each between half of it and all of it."""
    delay_s = FIRST_DELAY_S
    while True:
        yield delay_s * (0.5 + 0.5 * jitter())
        delay_s = min(delay_s * 2, LONGEST_DELAY_S)


def is_link_local(host: str) -> bool:
    """169.254/16, fe80::/10 and EC2's fd00:ec2::: never through a proxy."""
    return host.startswith("169.254.") or host.lower()[:3] in ("fe8", "fe9", "fea", "feb") or (
        host.lower().startswith("fd00:ec2:")
    )  # fmt: skip


class Web:
    """HTTP for one run: counts what was downloaded, and answers from `replies` when there are any."""

    def __init__(
        self,
        *,
        replies: HttpMap | None = None,
        limits: Limits = DEFAULT,
        jitter: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        proxies: Mapping[str, str] | None = None,
        root: str = "/",
    ) -> None:
        self._root = root
        self._replies = replies
        self._limits = limits
        self._jitter = jitter or _jitter
        self._sleep = sleep
        self._proxies = os.environ if proxies is None else proxies
        self._downloaded = 0

    def request(
        self,
        url: str,
        policy: Policy = METADATA,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        deadline: float | None = None,
    ) -> Reply:
        """The answer to a request, tried again where that may help; redirects are followed for GET.

        Gives any answer whose status need not be tried again, 404 included. `deadline` (monotonic) cuts
        the policy's short. Raises FetchFailed.
        """
        ends = time.monotonic() + policy.deadline_s
        if deadline is not None:
            ends = min(ends, deadline)
        sent = {"User-Agent": "guestling-agent", "Accept": "*/*", **(headers or {})}
        seen = [url]
        while True:
            reply = self._tried(url, policy, method, sent, body, ends)
            if reply.status not in REDIRECTS or method != "GET":
                return reply
            url = _redirected(url, reply, policy, seen, self._limits)
            seen.append(url)

    def body(self, url: str, policy: Policy = METADATA, *, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of a 2xx answer. Raises FetchFailed with the status of any other."""
        reply = self.request(url, policy, headers=headers)
        if reply.status // 100 != 2:
            raise FetchFailed(url, f"HTTP {reply.status}", reply.status)
        return reply.body

    def pause_s(self, seconds: float) -> None:
        """Wait between two rounds of asking."""
        self._sleep(seconds)

    def include(self, url: str, certificate: tuple[str, str] | None = None) -> bytes:
        """What an `#include` line names. Raises FetchFailed."""
        return self.body(url, INCLUDE.replace(client_certificate=certificate))

    def get(self, url: str, headers: dict[str, str], tries: int) -> bytes:
        """The body, for actions (`boot_stages.apply.Web`); `file:` is read from disk. Raises OSError."""
        if url.startswith(("file://", "/")):
            from boot_stages.paths import below

            with open(below(self._root, url.removeprefix("file://")), "rb") as file:
                return file.read()
        try:
            return self.body(url, INCLUDE.replace(tries=tries, timeout_s=10.0), headers=headers)
        except FetchFailed as error:
            raise OSError(error.text) from error

    def post_form(self, url: str, fields: dict[str, str], tries: int, wait_s: float) -> None:
        """POST form fields, waiting `wait_s` between tries (`boot_stages.apply.Web`). Raises OSError."""
        from urllib.parse import urlencode

        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        problem = "not tried"
        for number in range(max(tries, 1)):
            if number:
                self._sleep(wait_s)
            try:
                reply = self.request(
                    url, Policy(tries=1), method="POST", headers=headers, body=urlencode(fields).encode()
                )
            except FetchFailed as error:
                problem = error.text
                continue
            if reply.status // 100 == 2:
                return
            problem = f"{url}: HTTP {reply.status}"
        raise OSError(problem)

    def post(self, url: str, content: bytes, tries: int) -> int:
        """POST of bytes; the status of the answer (`boot_stages.apply.Web`). Raises OSError."""
        policy = METADATA.replace(tries=tries)
        try:
            return self.request(url, policy, method="POST", body=content).status
        except FetchFailed as error:
            if error.status is not None:
                return error.status
            raise OSError(error.text) from error

    def _tried(
        self, url: str, policy: Policy, method: str, headers: Mapping[str, str], body: bytes, ends: float
    ) -> Reply:
        delays = delays_s(self._jitter)
        problem, status = SILENCE, None
        for number in range(max(policy.tries, 1)):
            wait_s = 0.0
            try:
                reply = self._once(url, policy, method, headers, body, ends)
                if reply.status not in AGAIN:
                    return reply
                problem, status = f"HTTP {reply.status}", reply.status
                wait_s = _retry_after_s(reply)
            except TooLarge as error:
                raise FetchFailed(url, str(error)) from error
            except (WireError, OSError) as error:
                problem, status = _worded(error), None
            wait_s = max(wait_s, next(delays))
            if number + 1 < policy.tries:
                if time.monotonic() + wait_s >= ends:
                    break
                self._sleep(wait_s)
        raise FetchFailed(url, f"{problem} (tried {number + 1} times)", status)

    def _once(
        self, url: str, policy: Policy, method: str, headers: Mapping[str, str], body: bytes, ends: float
    ) -> Reply:
        try:
            address = parse_address(url)
        except ValueError as error:
            raise FetchFailed(url, str(error)) from error
        left = self._limits.download_total_bytes - self._downloaded
        limit = min(self._limits.download_bytes, left)
        if self._replies is not None:
            reply = self._replies.reply(method, url)
            if len(reply.body) > limit:
                raise TooLarge(f"more than {limit} bytes (download_bytes)")
        else:
            deadline = min(time.monotonic() + policy.timeout_s, ends)
            reply = self._over_network(address, policy, method, headers, body, deadline, limit)
        self._downloaded += len(reply.body)
        return reply

    def _over_network(
        self,
        address: Address,
        policy: Policy,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        deadline: float,
        limit: int,
    ) -> Reply:
        from guest_agent import http_wire

        proxy = self._proxy_for(address)
        connection = http_wire.connect(proxy or address, deadline)
        try:
            target = address.target
            if address.scheme == "https":
                if proxy is not None:
                    _tunnel(connection, address, deadline)
                connection = _secured(connection, address, policy)
            elif proxy is not None:
                target = f"http://{address.host_header}{address.target}"
            request = http_wire.request_bytes(method, target, {"Host": address.host_header, **headers}, body)
            return http_wire.exchange(connection, request, deadline, limit)
        finally:
            connection.close()

    def _proxy_for(self, address: Address) -> Address | None:
        """The proxy of the environment; none for link-local hosts, localhost and what no_proxy names."""
        if is_link_local(address.host) or address.host in ("localhost", "127.0.0.1", "::1"):
            return None
        name = f"{address.scheme}_proxy"
        proxy = self._proxies.get(name) or self._proxies.get(name.upper())
        spared = self._proxies.get("no_proxy") or self._proxies.get("NO_PROXY") or ""
        for word in spared.replace(",", " ").split():
            if word in ("*", address.host) or address.host.endswith(f".{word.lstrip('.')}"):
                return None
        return parse_address(proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def _redirected(url: str, reply: Reply, policy: Policy, seen: list[str], limits: Limits) -> str:
    """Where a redirect leads. Raises FetchFailed for one that must not be followed (GA-N10)."""
    from urllib.parse import urljoin

    target = urljoin(url, reply.headers.get("location", ""))
    problem = ""
    try:
        old, new = parse_address(url), parse_address(target)
    except ValueError as error:
        raise FetchFailed(url, f"redirected to a refused address: {error}", reply.status) from error
    if len(seen) > limits.download_redirects:
        problem = f"more than {limits.download_redirects} redirects (download_redirects)"
    elif target in seen:
        problem = "it redirects in a circle"
    elif old.scheme == "https" and new.scheme == "http":
        problem = "redirected from https to http"
    elif new.host != old.host and (not policy.other_hosts or is_link_local(new.host)):
        problem = "redirected to another host"
    if problem:
        raise FetchFailed(url, f"{problem}; not followed", reply.status)
    return target


def _retry_after_s(reply: Reply) -> float:
    """Seconds the server asks us to wait; a date or rubbish counts as nothing."""
    text = reply.headers.get("retry-after", "").strip()
    return float(text[:6]) if text.isascii() and text.isdigit() else 0.0


def _worded(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return SILENCE
    if isinstance(error, OSError):
        text = error.strerror or str(error) or type(error).__name__
        if "certificate" in str(error).lower():
            return f"{text} (the clock says {time.strftime('%Y-%m-%d', time.gmtime())})"
        return text
    return str(error)


def _tunnel(connection: socket.socket, address: Address, deadline: float) -> None:
    from guest_agent import http_wire

    place = f"{address.host_header.partition(':')[0]}:{address.port}"
    request = http_wire.request_bytes("CONNECT", place, {"Host": place}, b"")
    reply = http_wire.exchange(connection, request, deadline, 0)
    if reply.status != 200:
        raise WireError(f"the proxy answered {reply.status}")


def _secured(connection: socket.socket, address: Address, policy: Policy) -> socket.socket:
    import ssl

    context = ssl.create_default_context()
    if policy.client_certificate is not None:
        context.load_cert_chain(*policy.client_certificate)
    return context.wrap_socket(connection, server_hostname=address.host)


def _jitter() -> float:
    return int.from_bytes(os.urandom(2), "big") / 65535


def web_for(machine: Machine, limits: Limits = DEFAULT) -> Web:
    """HTTP for that machine: its --http map in tests, the network in a guest.

    Below another root without a map nothing is fetched.
    """
    settings = machine.settings
    if not settings.http and machine.is_live:
        return Web(limits=limits)
    from guest_agent.http_map import HttpMap

    replies = HttpMap.read(settings.http, machine.root) if settings.http else HttpMap({}, machine.root)
    return Web(replies=replies, limits=limits, sleep=lambda _s: None, root=machine.root)
