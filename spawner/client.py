"""A small client of our own API for the command line: a token, calls, names to ids.

It reads the `clouds.yaml` that `guestling api` wrote, as the real clients do.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import yaml

from spawner.compute.command_limits import over_within_s
from spawner.errors import NotFound, SpawnerError

TIMEOUT_S = 60.0
"""How long an answer may take that waits for nothing; for one that waits it is what comes on top."""
POLL_S = 0.2
MICROVERSION = "compute 2.96"


class Unreachable(SpawnerError):
    """Nobody serves the API where clouds.yaml says."""

    code = "api-unreachable"

    def __init__(self, url: str, why: object) -> None:
        super().__init__(f"{url}: {why}. Start it with: guestling api --image tiny")


class NoAnswer(Unreachable):
    """Somebody serves there, and did not answer in time."""

    code = "api-no-answer"

    def __init__(self, url: str, waited_s: float) -> None:
        SpawnerError.__init__(
            self,
            f"{url}: no answer within {waited_s:g} s: it hangs, or its host has too much to do. See its log.",
        )


class Refused(SpawnerError):
    """The API answered with a fault; its words."""

    code = "api-refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (HTTP {status})")
        self.status = status


@dataclass(frozen=True)
class Credentials:
    """What a cloud's entry in clouds.yaml says."""

    auth_url: str
    username: str
    password: str
    project: str


def read_clouds(path: Path, cloud: str) -> Credentials:
    """The entry of a cloud. Raises Unreachable where there is none."""
    try:
        entry = yaml.safe_load(path.read_text())["clouds"][cloud]["auth"]
        return Credentials(entry["auth_url"], entry["username"], entry["password"], entry["project_name"])
    except OSError as error:
        raise Unreachable(str(path), error.strerror) from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise Unreachable(str(path), f"it has no usable entry for the cloud {cloud!r}") from error


class Client:
    """One connection to the API of one cloud; `timeout_s` is for an answer that waits for nothing."""

    def __init__(self, credentials: Credentials, timeout_s: float = TIMEOUT_S) -> None:
        self._credentials = credentials
        self._timeout_s = timeout_s
        parts = urlsplit(credentials.auth_url)
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        self._token = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def sign_in(self) -> None:
        """Get a token. Raises Unreachable, Refused."""
        domain = {"id": "default"}
        user = {"name": self._credentials.username, "domain": domain, "password": self._credentials.password}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": self._credentials.project, "domain": domain}}
        _document, headers = self._request(
            "POST", "/identity/v3/auth/tokens", {"auth": {"identity": identity, "scope": scope}}
        )
        self._token = headers["X-Subject-Token"]

    def call(self, method: str, path: str, body: object = None, *, works_s: float = 0.0) -> Any:
        """One call; the JSON document of the answer. Raises Unreachable, NoAnswer, Refused.

        `works_s`: how long what is asked for may itself take.
        """
        return self._request(method, path, body, works_s)[0]

    def execute(self, server_id: str, command: str, timeout_s: float) -> dict[str, Any]:
        """Carry out a command line in a server's guest; the API's answer. Raises as `call` does.

        It is the API that says when the time is up, with what it knows: this end waits longer.
        """
        body = {"command": command, "timeout": timeout_s}
        path = f"/compute/v2.1/servers/{server_id}/x-exec"
        done: dict[str, Any] = self.call("POST", path, body, works_s=over_within_s(timeout_s))
        return done

    def _request(self, method: str, path: str, body: object, works_s: float = 0.0) -> tuple[Any, Message]:
        headers = {"OpenStack-API-Version": MICROVERSION, "X-Auth-Token": self._token}
        content = None if body is None else json.dumps(body)
        limit_s = self._timeout_s + works_s
        self._connection.timeout = limit_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(limit_s)
        try:
            self._connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            answer = self._connection.getresponse()
            text = answer.read()
        except TimeoutError as error:
            # An answer that comes yet must not be taken for that to the next call.
            self._connection.close()
            raise NoAnswer(self._url, limit_s) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self._url, error) from error
        document = json.loads(text) if text else None
        if answer.status >= 400:
            raise Refused(answer.status, _words(document))
        return document, answer.headers

    def stream(self, path: str) -> Iterator[bytes]:
        """What a path says, as it comes, over a connection of its own. Raises Unreachable, Refused."""
        connection = http.client.HTTPConnection(self._host, self._port)
        try:
            connection.request("GET", path, headers={"X-Auth-Token": self._token})
            answer = connection.getresponse()
            if answer.status >= 400:
                raise Refused(answer.status, _words(json.loads(answer.read())))
            while chunk := answer.read1(65536):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self._url, error) from error
        finally:
            connection.close()

    # --- names ------------------------------------------------------------------------------------------

    def find(self, what: str, path: str, key: str, name: str) -> dict[str, Any]:
        """The one entry of a list whose name or id is `name`. Raises NotFound, Refused when it is not one."""
        rows = [row for row in self.call("GET", path)[key] if name in {row["id"], row["name"]}]
        if not rows:
            raise NotFound(what, name)
        if len(rows) > 1:
            raise Refused(409, f"{len(rows)} {what.lower()}s are named {name}: use the id")
        found: dict[str, Any] = rows[0]
        return found

    def image(self, name: str) -> dict[str, Any]:
        """An image by name or id."""
        return self.find("Image", f"/image/v2/images?name={quote(name)}", "images", name)

    def flavor(self, name: str) -> dict[str, Any]:
        """A flavor by name or id."""
        return self.find("Flavor", "/compute/v2.1/flavors/detail", "flavors", name)

    def server(self, name: str) -> dict[str, Any]:
        """A server by name or id."""
        return self.find("Server", "/compute/v2.1/servers/detail", "servers", name)

    def network(self, name: str) -> dict[str, Any]:
        """A network by name or id."""
        return self.find("Network", "/network/v2.0/networks", "networks", name)

    # --- waiting ----------------------------------------------------------------------------------------

    def until_settled(self, server_id: str, timeout_s: float) -> dict[str, Any]:
        """The server once nothing is being done to it. Raises Refused when that takes too long."""
        for _turn in _turns(timeout_s):
            server: dict[str, Any] = self.call("GET", f"/compute/v2.1/servers/{server_id}")["server"]
            if server["OS-EXT-STS:task_state"] is None and server["status"] != "BUILD":
                return server
        raise Refused(504, f"server {server_id} is still busy after {timeout_s:g} s")

    def until_gone(self, server_id: str, timeout_s: float) -> None:
        """Wait until a server is deleted."""
        for _turn in _turns(timeout_s):
            try:
                self.call("GET", f"/compute/v2.1/servers/{server_id}")
            except Refused as error:
                if error.status == 404:
                    return
                raise
        raise Refused(504, f"server {server_id} is still there after {timeout_s:g} s")

    def events(self, server_id: str, after: int = 0) -> list[dict[str, Any]]:
        """The events of a server after a number."""
        path = f"/compute/v2.1/servers/{server_id}/x-events?after={after}"
        found: list[dict[str, Any]] = self.call("GET", path)["events"]
        return found

    def history(self, server_id: str) -> list[dict[str, Any]]:
        """Every event of a server so far; one answer holds some of them only."""
        found: list[dict[str, Any]] = []
        while more := self.events(server_id, found[-1]["number"] if found else 0):
            found += more
        return found

    def follow(self, server_id: str, timeout_s: float, after: int = 0) -> Iterator[dict[str, Any]]:
        """The events of a server after a number as they come, until the time is up."""
        number = after
        for _turn in _turns(timeout_s):
            for event in self.events(server_id, number):
                number = event["number"]
                yield event


def _turns(timeout_s: float) -> Iterator[None]:
    deadline_s = time.monotonic() + timeout_s
    while True:
        yield
        if time.monotonic() >= deadline_s:
            return
        time.sleep(POLL_S)


def _words(document: Any) -> str:
    """The message in a fault of any of the services."""
    if isinstance(document, dict):
        if isinstance(document.get("message"), str):
            return str(document["message"])
        for value in document.values():
            if isinstance(value, dict) and "message" in value:
                return str(value["message"])
    return "the request was refused"
