"""Rows of the fault catalogue that a whole boot shows: odd configs, vendor data, clocks, repeated appends."""

from __future__ import annotations

import gzip
import json
import math
import re
from pathlib import Path

import pytest

from boot_stages.modules.set_passwords import CLASSES
from guest_agent.limits import DEFAULT
from tests.unit.guest_agent.run.roots import CONFIG, STAGES, Root

ROOT = Path(__file__).parents[4]
LOG = "var/log/cloud-init.log"
STATUS = "var/lib/cloud/data/status.json"
ALPHABET = "".join(CLASSES)
SEMAPHORES = "var/lib/cloud/instances/i-1/sem"
WRONG_TYPES = """\
#cloud-config
hostname: web9
users: 7
runcmd: {}
write_files: 7
ssh_authorized_keys: 5
"""


def test_ga_p12_wrong_types_are_listed_with_their_lines_before_any_module_runs(root: Root) -> None:
    root.put("etc/cloud/cloud.cfg", CONFIG.replace("users_groups]", "ssh, users_groups]"))
    root.seed(WRONG_TYPES)
    root.all_stages()
    listed, _, afterwards = root.text(LOG).partition("start: init-network/config-")
    faults = re.findall(r"user-data part-001:(\d+): (\w+)", listed)
    assert sorted(faults) == [
        ("3", "users"),
        ("4", "runcmd"),
        ("5", "write_files"),
        ("6", "ssh_authorized_keys"),
    ]
    assert "user-data part-001:" not in afterwards
    # What is right is carried out all the same, also in the stage with the errors.
    assert root.text("etc/hostname") == "web9\n"
    assert ["hostname", "web9"] in root.commands()
    failed = {stage: root.status()[stage]["errors"] for stage in ("init", "modules-config", "modules-final")}
    assert [error.split("'")[1] for error in failed["init"]] == ["write_files", "ssh"]
    assert [error.split("'")[1] for error in failed["modules-config"]] == ["runcmd"]
    assert root.text("var/lib/cloud/instances/i-1/boot-finished")


VENDOR_DATA = {
    "a conflict": "#cloud-config\nhostname: vendor\nruncmd: [echo vendor]\n",
    "an attempt to disable": "#cloud-config\nallow_userdata: false\nruncmd: [echo vendor]\n",
    "broken YAML": "#cloud-config\n{bad: [\n",
    "a wrong type": "#cloud-config\nhostname: [vendor]\n",
    "no format": "rubbish \x00",
    "a broken multipart": "Content-Type: multipart/mixed\nMIME-Version: 1.0\n\nx",
    "a part that is not what it says": (
        "Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\n\n"
        "--b\nContent-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\nA\n"
        "--b\n\n#cloud-config\nlocale: C\n--b--\n"
    ),
    "a multipart that is not UTF-8": "Content-Type: text/plain\nMIME-Version: 1.0\n\n\udcff",
    "a part that is no gzip": "Content-Type: application/gzip\nMIME-Version: 1.0\n\nx",
    "an include of nothing": "#include\nfile:///etc/passwd\n",
    "too large": gzip.compress(b"#" * (DEFAULT.gunzip_total_bytes + 1)).decode("utf-8", "surrogateescape"),
    "not UTF-8": "#cloud-config\nhostname: \udcff\n",
}


@pytest.mark.parametrize("vendor_data", VENDOR_DATA.values(), ids=VENDOR_DATA.keys())
def test_ga_p14_user_data_wins_over_vendor_data_of_every_kind(root: Root, vendor_data: str) -> None:
    root.seed("#cloud-config\nhostname: mine\nruncmd: [echo mine]\n")
    seed = root.path / "var/lib/cloud/seed/nocloud/vendor-data"
    seed.write_bytes(vendor_data.encode("utf-8", "surrogateescape"))
    codes = root.all_stages()
    assert root.text("etc/hostname") == "mine\n"
    script = root.text("var/lib/cloud/instances/i-1/scripts/runcmd")
    assert "echo mine" in script
    assert "vendor" not in script
    # Whatever is wrong with it is a warning: an error would be the user's.
    assert codes == [0, 0, 0, 0]
    assert root.json("var/lib/cloud/data/result.json")["v1"]["errors"] == []
    told = json.dumps(root.status()["init"]["recoverable_errors"])
    is_readable = vendor_data in (VENDOR_DATA["a conflict"], VENDOR_DATA["an attempt to disable"])
    assert is_readable or "vendor-data" in told or "cloud-config failed schema" in told


def test_ga_p14_what_is_good_of_broken_vendor_data_counts(root: Root) -> None:
    root.seed("#cloud-config\nhostname: mine\n", vendor_data=VENDOR_DATA["a part that is not what it says"])
    root.all_stages()
    vendor = root.text("var/lib/cloud/instances/i-1/vendor-cloud-config.txt")
    assert "locale: C" in vendor


def test_ga_s09_no_clock_disturbs_a_boot(root: Root) -> None:
    """1970, the end of 32-bit time, and jumps between the stages; what is told of it has no negative time."""
    clocks = ["0", "2147483700", "-5", "4294967400"]
    root.seed("#cloud-config\nhostname: web2\nusers: [{name: bob, expiredate: '2038-01-20'}]\nruncmd: [ls]\n")
    for first in range(len(clocks)):
        codes = [
            root.agent("--epoch", clocks[(first + number) % len(clocks)], *words)
            for number, words in enumerate(STAGES)
        ]
        assert codes == [0, 0, 0, 0]
        root.reboot()
    status = root.status()
    for stage in ("init-local", "init", "modules-config", "modules-final"):
        assert status[stage]["finished"] >= status[stage]["start"] >= 0


@pytest.mark.parametrize("words", [("show",), ("blame",), ("dump",), ("plot",)])
def test_ga_s09_analysis_of_a_boot_whose_clock_jumped_back(
    root: Root, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    root.seed("#cloud-config\nruncmd: [ls]\n")
    for clock, stage in zip(("4102444800", "4102444000", "100", "0"), STAGES, strict=True):
        assert root.agent("--epoch", clock, *stage) == 0
    capsys.readouterr()
    assert root.agent("analyze", *words) == 0
    shown = capsys.readouterr().out
    assert "boot records analyzed" in shown or "<svg" in shown or json.loads(shown)
    assert not re.search(r"([+@ ]|width=\"|x=\")-\d", shown)


def test_ga_s09_no_deadline_hangs_on_the_clock_of_the_day() -> None:
    """A clock that is set in the middle of a boot must neither end nor prolong a wait."""
    users = [
        str(path.relative_to(ROOT))
        for package in ("guest_agent", "boot_stages", "configdrive")
        for path in (ROOT / package).rglob("*.py")
        if "time.time()" in path.read_text(encoding="utf-8")
    ]
    assert users == ["guest_agent/machine.py"], "time.monotonic() is for waiting, machine.clock() for telling"


def test_ga_w07_an_append_that_was_interrupted_is_not_repeated(root: Root) -> None:
    """The power goes between the append and the mark that the module is done: the module runs again."""
    root.put("etc/motd", "old\n")
    root.seed(
        "#cloud-config\nwrite_files:\n"
        "- {path: /etc/motd, content: 'twice;', append: true}\n"
        "- {path: /etc/motd, content: 'twice;', append: true}\n"
        "- {path: /etc/new, content: 'once;', append: true}\n"
        "- {path: /etc/late, content: 'late;', append: true, defer: true}\n"
    )
    root.all_stages()
    for _ in range(2):
        for module in ("write_files", "write_files_deferred"):
            (root.path / SEMAPHORES / f"config_{module}").unlink()
        root.reboot()
        assert root.all_stages() == [0, 0, 0, 0]
        assert root.text("etc/motd") == "old\ntwice;twice;"
        assert root.text("etc/new") == "once;"
        assert root.text("etc/late") == "late;"


def test_ga_w07_what_is_gone_from_the_file_is_appended_again(root: Root) -> None:
    root.seed("#cloud-config\nwrite_files:\n- {path: /etc/new, content: 'once;', append: true}\n")
    root.all_stages()
    for content in ("", "something else"):
        root.put("etc/new", content)
        (root.path / SEMAPHORES / "config_write_files").unlink()
        root.reboot()
        root.all_stages()
        assert root.text("etc/new") == f"{content}once;"


@pytest.mark.parametrize("rubbish", [b"", b"[]", b"{", b'{"write_files/1": ["/etc/new", "x"]}', b"\xff"])
def test_ga_w07_a_memory_that_cannot_be_read_costs_a_repetition_at_most(root: Root, rubbish: bytes) -> None:
    root.seed("#cloud-config\nwrite_files:\n- {path: /etc/new, content: 'once;', append: true}\n")
    root.all_stages()
    root.put("var/lib/cloud/instances/i-1/appends.json", rubbish, 0o600)
    (root.path / SEMAPHORES / "config_write_files").unlink()
    root.reboot()
    assert root.all_stages() == [0, 0, 0, 0]
    assert root.text("etc/new") == "once;once;"


def test_ga_w08_a_bad_entry_is_refused_before_its_first_byte_and_the_others_are_written(root: Root) -> None:
    root.seed(
        "#cloud-config\nwrite_files:\n"
        "- {path: /etc/a, content: '!!!', encoding: b64}\n"
        "- {path: /etc/b, content: 'aGFsbG8=', encoding: gz+b64}\n"
        "- {path: /etc/c, content: 'H4sIAAAAAAAAA8tIzcnJBwCGphA2', encoding: gz+b64}\n"
        "- {path: /etc/d, content: good}\n"
    )
    assert root.all_stages() == [0, 1, 0, 0]
    assert sorted(path.name for path in (root.path / "etc").iterdir() if len(path.name) == 1) == ["d"]
    [error] = root.status()["init"]["errors"]
    assert "write_files" in error
    failed = root.text(LOG)
    assert all(f"write_files: /etc/{name}: the content is not" in failed for name in "abc")


BAD_NAMES = ("-x", "a b", "ünï", "a" * 33, "a:b", "a\nb", "../x", "")


def test_ga_w10_names_are_checked_before_a_program_sees_them(root: Root) -> None:
    root.seed(
        "#cloud-config\n" + json.dumps({"users": [*({"name": name} for name in BAD_NAMES), {"name": "ok"}]})
    )
    root.all_stages()
    named = [argv for argv in root.commands() if argv[0] in {"useradd", "usermod", "passwd", "chpasswd"}]
    assert ["useradd", "ok", "-m"] in named
    assert {word for argv in named for word in argv[1:]} & set(BAD_NAMES) == set()


def test_ga_w10_a_second_boot_with_the_users_there_makes_nobody(root: Root) -> None:
    root.seed("#cloud-config\nusers: [{name: ok}]\n")
    root.put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nok:x:1000:1000::/home/ok:/bin/sh\n")
    root.all_stages()
    assert not [argv for argv in root.commands() if argv[0] == "useradd"]


def test_ga_w13_a_bad_item_is_refused_before_the_first_runs(root: Root) -> None:
    root.seed("#cloud-config\nruncmd:\n- echo first\n- true\n- [a, [b]]\n- echo last\n")
    assert root.all_stages()[2] == 1
    assert not (root.path / "var/lib/cloud/instances/i-1/scripts/runcmd").exists()
    assert not [argv for argv in root.commands() if "runcmd" in argv[0]]
    [error] = root.status()["modules-config"]["errors"]
    assert "runcmd" in error


def test_ga_w11_two_clones_get_passwords_that_nobody_can_guess_or_read_in_a_log(
    root: Root, tmp_path: Path
) -> None:
    clone = Root(tmp_path / "clone")
    found = []
    for guest in (root, clone):
        guest.put("etc/cloud/cloud.cfg", CONFIG.replace("users_groups]", "users_groups, set_passwords]"))
        guest.put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nok:x:1000:1000::/home/ok:/bin/sh\n")
        guest.seed("#cloud-config\nusers: []\nchpasswd: {users: [{name: ok, type: RANDOM}]}\n")
        guest.all_stages()
        lines = (guest.path / "run/cloud-init/commands.jsonl").read_text().splitlines()
        [given] = [json.loads(line) for line in lines if json.loads(line)["argv"][0] == "chpasswd"]
        password = given["stdin"].strip().partition(":")[2]
        found.append(password)
        assert password not in " ".join(given["argv"])
        assert not any(password in text for text in (guest.text(LOG), guest.text(STATUS)))
    # GA-W11 asks for 115 bits.
    assert found[0] != found[1]
    assert all(len(password) * math.log2(len(ALPHABET)) >= 115 for password in found)
    assert all(set(password) <= set(ALPHABET) for password in found)
