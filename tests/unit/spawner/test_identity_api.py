"""Keystone over HTTP: projects, users, roles, passwords; tokens that are revoked; guessing that is slowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawner import identity, revocation
from spawner.api.cloud import Cloud
from spawner.identity import TOKEN_LIFE_S, Identity, NotAuthenticated
from spawner.sign_ins import MOST_FOR_ADDRESS, MOST_FOR_NAME, WINDOW_S, SignIns, TooManyAttempts
from spawner.store.engine import open_store
from tests.unit.spawner.callers import Api

BASE = "/identity/v3"


@pytest.fixture
async def root(cloud: Cloud, nobody: Api) -> Api:
    async with cloud.store.write() as connection:
        await identity.add_project(connection, "p-root", "root", 0.0)
        await identity.add_user(connection, "u-root", "root", "rootpass", b"salt", "p-root", 0.0)
        await identity.assign(connection, "u-root", "p-root", "admin")
    return await nobody.as_user("root", "rootpass", "root")


async def _bob(root: Api, role: str = "member") -> tuple[str, str]:
    """A project and a user with a role in it, made over the API: their ids."""
    status, answer = await root.call("POST", f"{BASE}/projects", {"project": {"name": "blue"}})
    assert status == 201, answer
    project = answer["project"]["id"]
    form = {"user": {"name": "bob", "password": "bobpass", "email": "b@example.org", "description": "he"}}
    status, answer = await root.call("POST", f"{BASE}/users", form)
    assert status == 201, answer
    assert (answer["user"]["email"], answer["user"]["description"]) == ("b@example.org", "he")
    assert "password" not in answer["user"]
    user = answer["user"]["id"]
    grant = f"{BASE}/projects/{project}/users/{user}/roles/{role}"
    assert (await root.call("HEAD", grant))[0] == 404
    assert (await root.call("PUT", grant))[0] == 204
    assert (await root.call("PUT", grant))[0] == 204
    assert (await root.call("HEAD", grant))[0] == 204
    return project, user


async def test_a_user_who_is_made_over_the_api_signs_in_with_the_role_that_they_got(root: Api) -> None:
    project, user = await _bob(root)
    status, answer = await root.sign_in("bob", "bobpass", "blue")
    assert status == 201
    assert [role["name"] for role in answer["token"]["roles"]] == ["member", "reader"]
    bob = await root.as_user("bob", "bobpass", "blue")
    assert [each["id"] for each in (await bob.call("GET", f"{BASE}/projects"))[1]["projects"]] == [project]
    assert [each["id"] for each in (await bob.call("GET", f"{BASE}/users"))[1]["users"]] == [user]
    rows = (await bob.call("GET", f"{BASE}/role_assignments?include_names"))[1]["role_assignments"]
    assert [(row["user"]["name"], row["scope"]["project"]["name"], row["role"]["name"]) for row in rows] == [
        ("bob", "blue", "member")
    ]
    rows = (await root.call("GET", f"{BASE}/role_assignments?user.id={user}&effective"))[1]
    assert [row["role"]["id"] for row in rows["role_assignments"]] == ["member", "reader"]
    assert (await root.call("GET", f"{BASE}/role_assignments?scope.system=all"))[1]["role_assignments"] == []


async def test_only_admins_manage_people(root: Api) -> None:
    project, user = await _bob(root)
    bob = await root.as_user("bob", "bobpass", "blue")
    for method, path, body in (
        ("POST", "/projects", {"project": {"name": "x"}}),
        ("PATCH", f"/projects/{project}", {"project": {"name": "x"}}),
        ("DELETE", f"/projects/{project}", None),
        ("POST", "/users", {"user": {"name": "x"}}),
        ("PATCH", f"/users/{user}", {"user": {"name": "x"}}),
        ("DELETE", f"/users/{user}", None),
        ("PUT", f"/projects/{project}/users/{user}/roles/admin", None),
        ("DELETE", f"/projects/{project}/users/{user}/roles/member", None),
    ):
        status, answer = await bob.call(method, BASE + path, body)
        assert (status, "identity:manage" in answer["error"]["message"]) == (403, True), (method, path)
    assert (await bob.call("GET", f"{BASE}/users/u-root"))[0] == 404
    assert (await bob.call("GET", f"{BASE}/users/u-root/projects"))[0] == 404


async def test_names_are_taken_once(root: Api) -> None:
    _project, user = await _bob(root)
    assert (await root.call("POST", f"{BASE}/projects", {"project": {"name": "blue"}}))[0] == 409
    assert (await root.call("POST", f"{BASE}/users", {"user": {"name": "bob"}}))[0] == 409
    assert (await root.call("PATCH", f"{BASE}/users/{user}", {"user": {"name": "root"}}))[0] == 409
    wrong = {"user": {"name": "x", "default_project_id": "none"}}
    assert (await root.call("POST", f"{BASE}/users", wrong))[0] == 400
    elsewhere = {"project": {"name": "x", "domain_id": "other"}}
    assert (await root.call("POST", f"{BASE}/projects", elsewhere))[0] == 400


async def test_a_change_of_ones_password_needs_the_present_one_and_ends_every_session(root: Api) -> None:
    _project, user = await _bob(root)
    bob = await root.as_user("bob", "bobpass", "blue")
    path = f"{BASE}/users/{user}/password"
    wrong = {"user": {"original_password": "nope", "password": "new"}}
    assert (await bob.call("POST", path, wrong))[0] == 401
    same = {"user": {"original_password": "bobpass", "password": "bobpass"}}
    assert (await bob.call("POST", path, same))[0] == 400
    right = {"user": {"original_password": "bobpass", "password": "new"}}
    assert (await root.call("POST", path, right))[0] == 404
    assert (await bob.call("POST", path, right))[0] == 204
    assert (await bob.call("GET", f"{BASE}/users"))[0] == 401
    assert (await root.sign_in("bob", "bobpass", "blue"))[0] == 401
    assert (await root.sign_in("bob", "new", "blue"))[0] == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/users/{user}", {"user": {"enabled": False}}),
        ("PATCH", "/users/{user}", {"user": {"password": "other"}}),
        ("DELETE", "/users/{user}", None),
        ("PATCH", "/projects/{project}", {"project": {"enabled": False}}),
        ("DELETE", "/projects/{project}", None),
        ("DELETE", "/projects/{project}/users/{user}/roles/member", None),
    ],
)
async def test_what_ends_a_users_rights_ends_their_tokens(
    root: Api, method: str, path: str, body: object
) -> None:
    project, user = await _bob(root)
    bob = await root.as_user("bob", "bobpass", "blue")
    status, answer = await root.call(method, BASE + path.format(project=project, user=user), body)
    assert status in {200, 204}, answer
    assert (await bob.call("GET", "/compute/v2.1/servers"))[0] == 401
    assert (await root.sign_in("bob", "bobpass", "blue"))[0] == 401
    assert (await root.call("GET", "/compute/v2.1/servers"))[0] == 200


async def test_admins_cannot_lock_themselves_out(root: Api) -> None:
    for method, path, body in (
        ("DELETE", "/users/u-root", None),
        ("PATCH", "/users/u-root", {"user": {"enabled": False}}),
        ("DELETE", "/projects/p-root", None),
        ("PATCH", "/projects/p-root", {"project": {"enabled": False}}),
        ("DELETE", "/projects/p-root/users/u-root/roles/admin", None),
    ):
        assert (await root.call(method, BASE + path, body))[0] == 403, path
    assert (await root.sign_in("root", "rootpass", "root"))[0] == 201


async def test_a_project_with_something_in_it_is_not_deleted(root: Api) -> None:
    project, _user = await _bob(root)
    bob = await root.as_user("bob", "bobpass", "blue")
    form = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image = (await bob.call("POST", "/image/v2/images", form))[1]["id"]
    status, answer = await root.call("DELETE", f"{BASE}/projects/{project}")
    assert (status, "1 images" in answer["error"]["message"]) == (409, True)
    assert (await bob.call("DELETE", f"/image/v2/images/{image}"))[0] == 204
    assert (await root.call("DELETE", f"{BASE}/projects/{project}"))[0] == 204


async def test_a_revoked_token_stays_revoked_after_a_restart_and_others_do_not(
    root: Api, cloud: Cloud, tmp_path: Path
) -> None:
    await _bob(root)
    bob = await root.as_user("bob", "bobpass", "blue")
    other = await root.as_user("bob", "bobpass", "blue")
    assert (await bob.call("DELETE", f"{BASE}/auth/tokens", subject=root.token))[0] == 403
    assert (await bob.call("DELETE", f"{BASE}/auth/tokens", subject="forged"))[0] == 404
    assert (await bob.call("DELETE", f"{BASE}/auth/tokens", subject=bob.token))[0] == 204
    assert (await bob.call("GET", "/compute/v2.1/servers"))[0] == 401
    assert (await other.call("GET", "/compute/v2.1/servers"))[0] == 200
    assert (await root.call("GET", f"{BASE}/auth/tokens", subject=bob.token))[0] == 404
    exchange = {"auth": {"identity": {"methods": ["token"], "token": {"id": bob.token}}}}
    assert (await root.call("POST", f"{BASE}/auth/tokens", exchange))[0] == 401
    store = await open_store(str(tmp_path / "cloud" / "spawner.db"))
    with pytest.raises(NotAuthenticated):
        await revocation.believed(store, cloud.tokens, bob.token)
    await revocation.believed(store, cloud.tokens, other.token)
    await store.close()


async def test_a_revocation_is_forgotten_when_all_that_it_voids_has_expired(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "db"))
    who = Identity("u", "u", "p", "p", ("member",), ("password",), 100.0, 100.0 + TOKEN_LIFE_S)
    async with store.write() as connection:
        await revocation.revoke(connection, revocation.of_user("u"), 100.0)
        assert await revocation.is_revoked(connection, "t", who)
        await revocation.revoke(connection, revocation.of_user("other"), 99.0 + TOKEN_LIFE_S)
        assert await revocation.is_revoked(connection, "t", who)
        await revocation.revoke(connection, revocation.of_user("other"), 100.0 + TOKEN_LIFE_S)
        assert not await revocation.is_revoked(connection, "t", who)
    await store.close()


def _fail(guard: SignIns, address: str, name: str, now: float) -> None:
    with pytest.raises(NotAuthenticated), guard.attempt(address, name, now):
        raise NotAuthenticated


def test_too_many_failures_for_a_name_are_refused_until_the_window_ends() -> None:
    guard = SignIns()
    for _try in range(MOST_FOR_NAME):
        _fail(guard, "a", "bob", 5.0)
    with pytest.raises(TooManyAttempts) as refused, guard.attempt("a", "bob", 15.0):
        pytest.fail("it was tried all the same")
    assert refused.value.retry_after_s == WINDOW_S - 10
    for address, name, now in (("a", "eve", 15.0), ("b", "bob", 15.0), ("a", "bob", 5.0 + WINDOW_S)):
        with guard.attempt(address, name, now):
            pass


def test_a_success_forgets_the_failures_of_its_name_and_many_at_once_are_counted() -> None:
    guard = SignIns()
    for _try in range(MOST_FOR_NAME - 1):
        _fail(guard, "a", "bob", 0.0)
    with guard.attempt("a", "bob", 0.0), pytest.raises(TooManyAttempts), guard.attempt("a", "bob", 0.0):
        pytest.fail("one more at the same time was let in")
    _fail(guard, "a", "bob", 0.0)


def test_an_address_that_tries_many_names_is_refused_too() -> None:
    guard = SignIns()
    for number in range(MOST_FOR_ADDRESS):
        _fail(guard, "a", f"user-{number}", 0.0)
    with pytest.raises(TooManyAttempts), guard.attempt("a", "new", 0.0):
        pytest.fail("it was tried all the same")
    guard = SignIns(keys_kept=3)
    for number in range(5):
        _fail(guard, f"b{number}", "x", 0.0)
    assert len(guard._failures) == 3


async def test_guessing_over_the_api_is_answered_with_429_even_for_the_right_password(
    nobody: Api, root: Api
) -> None:
    for _try in range(MOST_FOR_NAME):
        assert (await nobody.sign_in("root", "guess", "root"))[0] == 401
    status, answer = await nobody.sign_in("root", "rootpass", "root")
    assert (status, answer["error"]["code"], answer["error"]["title"]) == (429, 429, "Too Many Requests")
    assert 0 < int(nobody.headers["Retry-After"]) <= WINDOW_S
    assert (await root.call("GET", f"{BASE}/users"))[0] == 200
