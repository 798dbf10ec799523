"""Carries out what the rules wish for: behind `respond`, the place with clock, randomness and store."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from metadata_server import tokens
from metadata_server.errors import DamagedStore, StoreUnavailable
from metadata_server.http import NOT_FOUND, Response, error
from metadata_server.pages import Tree
from metadata_server.responder import (
    TTL_HEADER,
    AppendReport,
    FetchVendorData,
    MintToken,
    ReadPassword,
    Send,
    SignIdentity,
    StorePassword,
    WaitForChange,
    Wish,
)
from metadata_server.services import REPORTS_PER_INSTANCE, Services

LOG = logging.getLogger("metadata_server")
_NO_STORE = (("Cache-Control", "no-store"),)
_STORE_DOWN = error(503, Retry_After="5")


async def carry_out(wish: Wish, tree: Tree, services: Services) -> Response | Send:
    """The answer to a wish; 503 when the store or an upstream cannot give it now."""
    try:
        return await CARRY_OUT[type(wish)](wish, tree, services)
    except (StoreUnavailable, DamagedStore) as trouble:
        LOG.error("%s", trouble)  # noqa: TRY400  # a known condition, said in one line
        services.events["store_failed"] += 1
        return _STORE_DOWN


async def _mint(wish: MintToken, tree: Tree, services: Services) -> Response:
    nonce = os.urandom(tokens.NONCE_BYTES)
    token = tokens.mint(services.token_keys[0], tree.instance.uuid, services.token_time(), wish.ttl_s, nonce)
    services.events["tokens_minted"] += 1
    return Response(200, token.encode(), headers=((TTL_HEADER, str(wish.ttl_s)), *_NO_STORE))


async def _read_password(_: ReadPassword, tree: Tree, services: Services) -> Response:
    return Response(200, await services.passwords.read(tree.instance.uuid), headers=_NO_STORE)


async def _store_password(wish: StorePassword, tree: Tree, services: Services) -> Response:
    if await services.passwords.store_once(tree.instance.uuid, wish.password):
        services.events["passwords_stored"] += 1
        return Response(200, headers=_NO_STORE)
    return error(409)


async def _fetch_vendor_data(wish: FetchVendorData, tree: Tree, services: Services) -> Response | Send:
    replies = await services.vendor_replies(tree)
    if replies is None:
        return error(503, Retry_After="2")
    return Send(tree.with_vendor_data(wish.version, replies), wish.head_only)


async def _wait_for_change(wish: WaitForChange, tree: Tree, services: Services) -> Response | Send:
    """The document with another ETag, or the same one at the end of the time (X-1)."""
    today = datetime.fromtimestamp(services.wall_time(), UTC).date()
    page = tree.openstack("latest/meta_data.json", today)
    if page is not None and page.etag.strip('"') == wish.last_etag.strip('"'):
        await services.changed(tree.instance.uuid, wish.timeout_s)
        now = services.instances.tree(tree.instance.uuid)
        page = None if now is None else now.openstack("latest/meta_data.json", today)
    return NOT_FOUND if page is None else Send(page)


async def _append_report(wish: AppendReport, tree: Tree, services: Services) -> Response:
    kept = services.reports.setdefault(tree.instance.uuid, [])
    if len(kept) >= REPORTS_PER_INSTANCE:
        return error(409, detail=f"{REPORTS_PER_INSTANCE} reports are kept already")
    kept.append(wish.record)
    if services.on_report is not None:
        await services.on_report(tree.instance.uuid, wish.record)
    return Response(200)


async def _sign_identity(wish: SignIdentity, _: Tree, services: Services) -> Response:
    if services.sign is None:
        return NOT_FOUND
    return Response(200, await services.sign(wish.name, wish.document), headers=_NO_STORE)


# One entry for each wish; a test holds the table complete.
CARRY_OUT: dict[type, Callable[[Any, Tree, Services], Awaitable[Response | Send]]] = {
    MintToken: _mint,
    ReadPassword: _read_password,
    StorePassword: _store_password,
    FetchVendorData: _fetch_vendor_data,
    WaitForChange: _wait_for_change,
    AppendReport: _append_report,
    SignIdentity: _sign_identity,
}
