"""What the agent remembers, also after a power cut."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from boot_stages.module import ALWAYS, ONCE, PER_INSTANCE
from boot_stages.stages import STAGES
from guest_agent import state
from guest_agent.datasources.source_data import InjectedFile, SourceData, from_document, to_document
from guest_agent.report import Status
from tests.unit.guest_agent.run.roots import Root

SCRIPT = "#!/bin/sh\necho once\n"
SEMAPHORES = "var/lib/cloud/instances/i-1/sem"


def test_every_place_has_a_path_and_a_mode_of_its_own() -> None:
    paths = [place.path for place in state.PLACES]
    assert len(set(paths)) == len(paths) > 30
    assert all(place.mode in {0o400, 0o600, 0o644, 0o755, 0o700, 0o1777} for place in state.PLACES)


def test_what_must_run_once_is_marked_begun_before_and_done_after(root: Root) -> None:
    journal = state.State(root.machine()).journal("i-1")
    begun, done = (
        root.path / SEMAPHORES / ".config_scripts_user.begun",
        root.path / SEMAPHORES / "config_scripts_user",
    )
    assert not journal.has_run("scripts_user", PER_INSTANCE)
    journal.begin("scripts_user", PER_INSTANCE)
    assert begun.exists()
    assert not done.exists()
    journal.end("scripts_user", PER_INSTANCE)
    assert not begun.exists()
    assert done.read_text() == f"{os.getpid()}: 1700000000\n"
    assert journal.has_run("scripts_user", PER_INSTANCE)


def test_ga_s01_what_a_program_may_leave_half_done_runs_again_and_knows_it(root: Root) -> None:
    journal = state.State(root.machine()).journal("i-1")
    assert not journal.was_cut("users_groups", PER_INSTANCE)
    journal.begin("users_groups", PER_INSTANCE)
    assert journal.was_cut("users_groups", PER_INSTANCE)
    assert not journal.was_cut("users_groups", ALWAYS)
    assert not journal.has_run("users_groups", PER_INSTANCE)
    journal.end("users_groups", PER_INSTANCE)
    assert not journal.was_cut("users_groups", PER_INSTANCE)
    assert journal.has_run("users_groups", PER_INSTANCE)


def test_what_may_run_again_is_marked_when_it_is_done(root: Root) -> None:
    journal = state.State(root.machine()).journal("i-1")
    journal.begin("write_files", PER_INSTANCE)
    assert not (root.path / SEMAPHORES).exists()
    journal.end("write_files", PER_INSTANCE)
    assert (root.path / SEMAPHORES / "config_write_files").read_text() == f"{os.getpid()}: 1700000000\n"
    assert journal.has_run("write_files", PER_INSTANCE)


def test_what_runs_always_leaves_no_mark_and_once_is_for_all_instances(root: Root) -> None:
    memory = state.State(root.machine())
    memory.journal("i-1").begin("x", ALWAYS)
    memory.journal("i-1").end("x", ALWAYS)
    assert not (root.path / SEMAPHORES).exists()
    memory.journal("i-1").begin("x", ONCE)
    memory.journal("i-1").end("x", ONCE)
    assert (root.path / "var/lib/cloud/sem/config_x.once").exists()
    assert memory.journal("i-2").has_run("x", ONCE)


@pytest.mark.parametrize(("name", "again"), [("write_files", True), ("scripts_user", False)])
def test_ga_s02_what_a_power_cut_interrupted(root: Root, name: str, again: bool) -> None:
    journal = state.State(root.machine()).journal("i-1")
    journal.begin(name, PER_INSTANCE)
    next_boot = state.State(root.machine()).journal("i-1")
    assert next_boot.has_run(name, PER_INSTANCE) is not again


def test_ga_s02_scripts_run_at_most_once_and_the_interruption_is_told(root: Root) -> None:
    root.seed(SCRIPT)
    root.all_stages()
    done = root.path / SEMAPHORES / "config_scripts_user"
    done.rename(done.with_name(".config_scripts_user.begun"))
    root.reboot()
    assert root.all_stages() == [0, 0, 0, 0]
    assert not any("scripts/part-001" in argv[0] for argv in root.commands())
    [warning] = root.status()["modules-final"]["recoverable_errors"]["WARNING"]
    assert warning.startswith("scripts_user was interrupted")
    assert root.agent("status") == 2
    root.reboot()
    root.all_stages()
    assert root.agent("status") == 0


def test_ga_s02_the_image_may_ask_for_interrupted_scripts_to_run_again(root: Root) -> None:
    root.seed(SCRIPT)
    root.put("etc/cloud/cloud.cfg.d/10.cfg", "rerun_interrupted: true\n")
    root.all_stages()
    done = root.path / SEMAPHORES / "config_scripts_user"
    done.rename(done.with_name(".config_scripts_user.begun"))
    root.reboot()
    root.all_stages()
    assert any("scripts/part-001" in argv[0] for argv in root.commands())


@pytest.mark.parametrize(
    "rubbish", [b"", b"\x80\x04pickle", b"{", b"[]", b'{"schema": "one"}', b"[" * 100000]
)
def test_ga_s06_a_cache_that_cannot_be_read_is_set_aside_and_the_source_read_anew(
    root: Root, rubbish: bytes
) -> None:
    root.seed("")
    root.all_stages()
    cache = root.path / "var/lib/cloud/instances/i-1/obj.pkl"
    cache.chmod(0o600)
    cache.write_bytes(rubbish)
    root.reboot()
    assert root.all_stages() == [0, 0, 0, 0]
    assert cache.with_name("obj.pkl.bad-1").read_bytes() == rubbish
    assert json.loads(cache.read_text())["instance_id"] == "i-1"
    assert "WARNING" in root.status()["init-local"]["recoverable_errors"]


def test_ga_s06_state_of_a_newer_agent_runs_no_module(root: Root) -> None:
    root.seed("#cloud-config\nwrite_files: [{path: /etc/motd, content: hello}]\n")
    root.all_stages()
    cache = root.path / "var/lib/cloud/instances/i-1/obj.pkl"
    cache.chmod(0o600)
    cache.write_text(json.dumps({**json.loads(cache.read_text()), "schema": 99}))
    root.reboot()
    (root.path / "etc/motd").unlink()
    codes = root.all_stages()
    assert codes == [1, 1, 1, 1]
    assert "error=state-newer" in root.status()["init-local"]["errors"][0]
    assert not (root.path / "etc/motd").exists()


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b'{"v1": 3}', b"\xff"])
def test_ga_s06_a_status_that_cannot_be_read_starts_afresh(root: Root, rubbish: bytes) -> None:
    root.seed("")
    root.agent("init", "--local")
    (root.path / "var/lib/cloud/data/status.json").write_bytes(rubbish)
    assert root.agent("init") == 0
    assert root.status()["init"]["finished"] == 12.5
    assert root.status()["init-local"]["start"] is None


def test_the_cache_gives_the_source_back_as_it_was() -> None:
    source = SourceData(
        "ConfigDrive", "DataSourceConfigDrive", "text", "i-1", {"a": 1},
        user_data=b"\x00\xff", vendor_data=["one", b"two"], public_keys=("k1",), random_seed=b"\x01",
        files=(InjectedFile("/etc/x", b"\xfe"),), device_names=(("ephemeral0", "/dev/vdb"),),
        update_events=("boot",), launch_index=3, crawled={"network_json": {"links": []}},
    )  # fmt: skip
    document = json.loads(json.dumps(to_document(source)))
    assert from_document(document) == source


def test_ga_s07_two_agents_do_not_run_at_once(root: Root) -> None:
    machine = root.machine()
    order: list[str] = []

    def second() -> None:
        with state.Lock(machine, wait_s=10.0):
            order.append("second")

    with state.Lock(machine):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.15)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_ga_s07_the_second_agent_gives_up_with_a_reason(
    root: Root, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = root.machine()
    with state.Lock(machine), pytest.raises(state.AnotherAgent, match="error=locked"):
        state.Lock(machine, wait_s=0.0)


def test_ga_s12_a_reader_always_finds_a_whole_status(root: Root) -> None:
    root.seed("")
    root.agent("init", "--local")
    path = root.path / "var/lib/cloud/data/status.json"
    stop = threading.Event()
    broken: list[str] = []

    def read() -> None:
        while not stop.is_set():
            text = path.read_text()
            try:
                json.loads(text)
            except ValueError:
                broken.append(text)

    reader = threading.Thread(target=read)
    reader.start()
    boot = root.boot()
    for number in range(200):
        Status(boot.machine).begin("init", float(number))
    stop.set()
    reader.join()
    assert broken == []


def test_only_the_end_of_a_boot_makes_its_status_durable(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a boot that a power cut ended are removed unread (docs/decisions/0127)."""
    synced: list[int] = []
    status = Status(root.machine())
    monkeypatch.setattr(os, "fsync", synced.append)
    for stage in STAGES:
        assert synced == []
        status.begin(stage.key, 1.0)
        status.end(stage.key, 2.0, datasource=None, errors=(), recoverable={})
    # The file and its directory.
    assert len(synced) == 2
    status.finish()
    assert len(synced) == 4


def test_ga_w01_secret_files_are_never_wider_than_their_mode(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every descriptor the writer opens for a secret file has its final mode at most."""
    opened: list[tuple[str, int]] = []
    really_open = os.open

    def watched(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT and "obj.pkl" in str(path):
            opened.append((str(path), mode))
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", watched)
    root.seed("")
    root.agent("init", "--local")
    assert opened
    assert all(mode & 0o077 == 0 for _path, mode in opened)
