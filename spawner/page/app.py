"""The page's own application below /page: sessions, forms, what is shown. It is a caller of the API."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from aiohttp import web
from sqlalchemy import or_, select

from spawner import floating_ips, networks
from spawner import identity as people
from spawner.api import microversion, new_server, views
from spawner.api.cloud import Cloud
from spawner.api.compute_servers import Servers
from spawner.api.faults import Fault, fault_of
from spawner.api.requests import IDENTITY, MICROVERSION, REQUEST_ID, Handler, caller, may, needs, wrong_field
from spawner.errors import SpawnerError
from spawner.identity import NotAuthenticated
from spawner.page import boot_view, sessions
from spawner.page.lint import Lint
from spawner.page.live import Live
from spawner.revocation import believed, of_token, revoke
from spawner.sign_ins import TooManyAttempts
from spawner.store import events, servers
from spawner.store.servers import Server
from spawner.store.tables import FLAVORS, IMAGES, KEYPAIRS, NETWORKS

LOG = logging.getLogger(__name__)
HERE = Path(__file__).parent
PREFIX = sessions.PATH
EVENT_LIMIT = 2000
# Nothing but our own files runs or is loaded, and nobody may put the page into a frame.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
SESSION: web.RequestKey[str] = web.RequestKey("session", str)
# What a button does: the action of the conductor, and the states in which it is offered.
ACTIONS: dict[str, tuple[str, frozenset[str]]] = {
    "stop": ("stop", frozenset({"ACTIVE"})),
    "start": ("start", frozenset({"SHUTOFF"})),
    "reboot": ("hard-reboot", frozenset({"ACTIVE", "SHUTOFF"})),
}


def make_app(cloud: Cloud, lint: Lint) -> web.Application:
    """The sub-application that `spawner.api.app` puts below /page."""
    page = _Page(cloud, lint)
    read, write = needs("compute:read"), needs("compute:server")
    app = web.Application(middlewares=[page.middleware()])  # type: ignore[no-untyped-call]
    app.add_routes(
        [
            web.get("/static/{name}", page.static),
            web.get("/sign-in", page.sign_in_form),
            web.post("/sign-in", page.sign_in),
            web.post("/sign-out", page.sign_out),
            web.get("/servers", read(page.servers)),
            web.get("/servers/live", read(page.servers_live)),
            web.get("/servers/{id}", read(page.server)),
            web.get("/servers/{id}/live", read(page.server_live)),
            web.get("/servers/{id}/delete", write(page.delete_form)),
            web.post("/servers/{id}/delete", write(page.delete)),
            web.post("/servers/{id}/{action:stop|start|reboot}", write(page.act)),
            web.get("/launch", write(page.launch_form)),
            web.post("/launch", write(page.launch)),
            web.post("/lint", read(page.lint)),
            web.get("/events", read(Live(cloud).stream)),
        ]
    )
    return app


class _Page:
    def __init__(self, cloud: Cloud, lint: Lint) -> None:
        self._cloud = cloud
        self._lint = lint
        self._servers = Servers(cloud)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._static = {name: (HERE / "static" / name).read_bytes() for name in STATIC}

    # --- what every request goes through ----------------------------------------------------------------

    def middleware(self):  # type: ignore[no-untyped-def]  # aiohttp's decorator gives the type
        """Session, forms, headers, and faults as pages."""

        @web.middleware
        async def common(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[REQUEST_ID] = f"req-{self._cloud.new_id()}"
            request[MICROVERSION] = microversion.MAXIMUM
            try:
                response = await self._checked(request, handler)
            except web.HTTPSeeOther as redirect:
                response = web.Response(status=303, headers={"Location": str(redirect.location)})
            except Exception as error:  # noqa: BLE001  # the outermost edge: it becomes a page that says so
                response = self._failed(request, error)
            if not response.prepared:
                response.headers.update(HEADERS)
                response.headers.setdefault("Cache-Control", "no-store")
            return response

        return common

    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix(PREFIX)
        if request.method == "POST" and not sessions.is_same_origin(request.headers):
            raise Fault(403, "This form came from another site.")
        if path.startswith("/static/") or path == "/sign-in":
            return await handler(request)
        session = request.cookies.get(sessions.COOKIE, "")
        try:
            request[IDENTITY] = await believed(self._cloud.store, self._cloud.tokens, session)
        except NotAuthenticated:
            raise web.HTTPSeeOther(f"{PREFIX}/sign-in") from None
        request[SESSION] = session
        if request.method == "POST":
            form = await request.post()
            if not sessions.is_form_of(self._cloud.tokens, session, str(form.get("csrf", ""))):
                raise Fault(403, "This form is not of this session. Go back, reload the page, and try again.")
        return await handler(request)

    def _failed(self, request: web.Request, error: Exception) -> web.Response:
        fault = Fault(500, f"It failed; the log has the reason under {request[REQUEST_ID]}.")
        if isinstance(error, Fault):
            fault = error
        elif isinstance(error, web.HTTPException):
            fault = Fault(error.status, error.reason)
        elif isinstance(error, SpawnerError) and fault_of(error).code < 500:
            fault = fault_of(error)
        else:
            LOG.error("%s", request[REQUEST_ID], exc_info=error)
        return self._show(request, "error.html", fault.code, fault=fault)

    def _show(self, request: web.Request, template: str, status: int = 200, **values: object) -> web.Response:
        session = request.get(SESSION, "")
        text = self._templates.get_template(template).render(
            prefix=PREFIX,
            me=request.get(IDENTITY),
            csrf=sessions.form_value(self._cloud.tokens, session) if session else "",
            may_write=IDENTITY in request and may(request, "compute:server"),
            **values,
        )
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")

    async def static(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in STATIC:
            raise Fault(404, "There is no such file.")
        headers = {"Cache-Control": "no-cache"}
        return web.Response(
            body=self._static[name], content_type=STATIC[name], charset="utf-8", headers=headers
        )

    # --- sessions ---------------------------------------------------------------------------------------

    async def sign_in_form(self, request: web.Request) -> web.Response:
        return self._show(request, "sign_in.html", name="", project="", wrong="")

    async def sign_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        name, project = str(form.get("name", "")), str(form.get("project", "")).strip()
        try:
            async with self._cloud.store.read() as connection:
                with self._cloud.sign_ins.attempt(request.remote or "", name, self._cloud.clock()):
                    identity = await people.by_password(
                        connection,
                        user=name,
                        user_is_id=False,
                        password=str(form.get("password", "")),
                        project=project or None,
                        project_is_id=False,
                        now=self._cloud.clock(),
                    )
        except NotAuthenticated:
            wrong = "That name, password or project is not right."
            return self._show(request, "sign_in.html", 401, name=name, project=project, wrong=wrong)
        except TooManyAttempts as error:
            response = self._show(request, "sign_in.html", 429, name=name, project=project, wrong=str(error))
            response.headers["Retry-After"] = str(error.retry_after_s)
            return response
        response = web.Response(status=303, headers={"Location": f"{PREFIX}/servers"})
        response.set_cookie(
            sessions.COOKIE,
            self._cloud.tokens.mint(identity),
            path=PREFIX,
            httponly=True,
            samesite="Strict",
            secure=request.url.scheme == "https" or self._cloud.url.startswith("https:"),
            max_age=int(identity.expires_at - identity.issued_at),
        )
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        async with self._cloud.store.write() as connection:
            await revoke(connection, of_token(request[SESSION]), self._cloud.clock())
        response = web.Response(status=303, headers={"Location": f"{PREFIX}/sign-in"})
        response.del_cookie(sessions.COOKIE, path=PREFIX)
        return response

    # --- servers ----------------------------------------------------------------------------------------

    async def servers(self, request: web.Request) -> web.Response:
        return self._show(request, "servers.html", rows=await self._rows(request))

    async def servers_live(self, request: web.Request) -> web.Response:
        return self._show(request, "servers_live.html", rows=await self._rows(request))

    async def _rows(self, request: web.Request) -> list[dict[str, Any]]:
        project_id = request[IDENTITY].project_id
        async with self._cloud.store.read() as connection:
            found = await servers.listed(connection, project_id=project_id)
            rows = []
            for server in found:
                told = await events.after(connection, 0, server.id, EVENT_LIMIT)
                ports = await networks.ports_of_device(connection, server.id)
                floating = await floating_ips.in_front_of(connection, ports)
                rows.append(
                    {
                        "server": server,
                        "progress": boot_view.progress(told),
                        "addresses": boot_view.addresses(views.addresses(ports, {}, floating)),
                    }
                )
        return rows

    async def _server(self, request: web.Request) -> Server:
        """The server of the path; another project's is not there."""
        async with self._cloud.store.read() as connection:
            return await servers.get(connection, request.match_info["id"], request[IDENTITY].project_id)

    async def _details(self, request: web.Request) -> dict[str, Any]:
        server = await self._server(request)
        async with self._cloud.store.read() as connection:
            told = await events.after(connection, 0, server.id, EVENT_LIMIT)
            ports = await networks.ports_of_device(connection, server.id)
            floating = await floating_ips.in_front_of(connection, ports)
            image = (
                await connection.execute(select(IMAGES.c.name).where(IMAGES.c.id == server.image_id))
            ).scalar()
        now_s = self._cloud.clock()
        boot = boot_view.this_boot(told)
        asked = self._cloud.conductor.metadata_requests(server)
        zero_s = boot[0].time if boot else now_s
        rows = boot_view.bars(told, now_s)
        return {
            "server": server,
            "image": image or server.image_id or "none: it boots from a volume",
            "progress": boot_view.progress(told),
            "addresses": boot_view.addresses(views.addresses(ports, {}, floating)),
            "bars": rows,
            "picture": boot_view.picture(rows, [record.time_s - zero_s for record in asked]),
            "asked": [(record, record.time_s - zero_s) for record in asked],
            "console": boot_view.harmless(self._cloud.conductor.console_output(server)),
            "actions": [name for name, (_action, states) in ACTIONS.items() if server.status in states],
        }

    async def server(self, request: web.Request) -> web.Response:
        details = await self._details(request)
        raw = details["server"].user_data
        findings = self._lint(raw) if raw else ()
        text = raw.decode("utf-8", "replace") if raw else ""
        lines = boot_view.harmless(text.encode()).split("\n") if text else []
        return self._show(request, "server.html", **details, user_data=lines, findings=findings)

    async def server_live(self, request: web.Request) -> web.Response:
        return self._show(request, "server_live.html", **await self._details(request))

    async def act(self, request: web.Request) -> web.Response:
        server = await self._server(request)
        action, _states = ACTIONS[request.match_info["action"]]
        await self._cloud.conductor.act(server.id, action, caller(request))
        return web.Response(status=303, headers={"Location": f"{PREFIX}/servers/{server.id}"})

    async def delete_form(self, request: web.Request) -> web.Response:
        return self._show(request, "delete.html", server=await self._server(request))

    async def delete(self, request: web.Request) -> web.Response:
        await self._cloud.conductor.delete((await self._server(request)).id, caller(request))
        return web.Response(status=303, headers={"Location": f"{PREFIX}/servers"})

    # --- launching --------------------------------------------------------------------------------------

    async def _choices(self, request: web.Request) -> dict[str, Any]:
        own = request[IDENTITY]
        seen = or_(IMAGES.c.visibility.in_(("public", "community")), IMAGES.c.owner == own.project_id)
        bootable = (seen, IMAGES.c.disk_format.in_(("raw", "qcow2")), IMAGES.c.status == "active")
        queries = {
            "images": select(IMAGES).where(*bootable).order_by(IMAGES.c.name),
            "flavors": select(FLAVORS).where(FLAVORS.c.is_public).order_by(FLAVORS.c.ram_mib),
            "networks": select(NETWORKS).where(networks.usable_by(own.project_id)).order_by(NETWORKS.c.name),
            "keys": select(KEYPAIRS.c.name).where(KEYPAIRS.c.user_id == own.user_id),
        }
        async with self._cloud.store.read() as connection:
            return {name: (await connection.execute(query)).all() for name, query in queries.items()}

    async def launch_form(self, request: web.Request) -> web.Response:
        return await self._launch_page(request, {})

    async def _launch_page(
        self, request: web.Request, given: Mapping[str, str], wrong: str = "", *, checked: bool = False
    ) -> web.Response:
        findings = self._lint(given.get("user_data", "").encode()) if checked else ()
        choices = await self._choices(request)
        return self._show(
            request,
            "launch.html",
            400 if wrong else 200,
            given=given,
            wrong=wrong,
            checked=checked,
            findings=findings,
            **choices,
        )

    async def launch(self, request: web.Request) -> web.Response:
        given = {name: str(value) for name, value in (await request.post()).items()}
        given["user_data"] = given.get("user_data", "").replace("\r\n", "\n")
        if "check" in given:
            return await self._launch_page(request, given, checked=True)
        try:
            form = msgspec.convert({"server": _wish(given)}, new_server.CreateServer)
            made = await self._servers.make(request, form)
        except msgspec.ValidationError as error:
            return await self._launch_page(request, given, wrong_field(str(error)))
        except Fault as refused:
            return await self._launch_page(request, given, refused.message)
        except SpawnerError as error:
            if fault_of(error).code >= 500:
                raise
            return await self._launch_page(request, given, fault_of(error).message)
        return web.Response(status=303, headers={"Location": f"{PREFIX}/servers/{made[0].id}"})

    async def lint(self, request: web.Request) -> web.Response:
        text = str((await request.post()).get("user_data", "")).replace("\r\n", "\n")
        return self._show(request, "lint.html", checked=True, findings=self._lint(text.encode()))


def _wish(given: Mapping[str, str]) -> dict[str, object]:
    """The form as a request for a server; what was left empty is not asked for."""
    wish: dict[str, object] = {
        "name": given.get("name", ""),
        "imageRef": given.get("image", ""),
        "flavorRef": given.get("flavor", ""),
        "networks": [{"uuid": given["network"]}] if given.get("network") else "none",
        "config_drive": "config_drive" in given,
    }
    if given.get("key"):
        wish["key_name"] = given["key"]
    if given.get("user_data", "").strip():
        wish["user_data"] = base64.b64encode(given["user_data"].encode()).decode()
    return wish
