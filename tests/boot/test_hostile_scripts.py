"""GA-W12, GA-S10: scripts of the user that flood, die, eat all memory and all processes, in one guest.

The agent and they share 32 processes and 192 MiB; the time of a stage is ten seconds. Whatever they do,
the final stage ends and tells of it.
"""

from __future__ import annotations

import pytest

from image_harness import boot, store
from spawner.compute.agent_events import CommandReport, Result
from tests.boot import fault_guest

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

# At least so long has each script, and the one that does not end no longer.
LIMITS = "{stage_s: 10, command_output_bytes: 20000}"
PIDS_LIMIT = 32
FENCE = f"""\
mount -n -t cgroup2 none /sys/fs/cgroup
echo +pids >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/agent
echo {PIDS_LIMIT} >/sys/fs/cgroup/agent/pids.max
"""
AGENT = """\
(echo 0 >/sys/fs/cgroup/agent/cgroup.procs; exec cloud-init --all-stages </dev/console >/dev/console 2>&1)
echo "the limit was met: $(cat /sys/fs/cgroup/agent/pids.events)" >/dev/console
"""
# A shell gives up when it cannot fork; this one does not.
BOMB = """\
#!/usr/bin/python3 -IS
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
# Each is smaller than the agent, so the kernel would rather choose that; all together are too much. They end
# with the first of them.
HOGS = """\
#!/usr/bin/python3 -IS
import os, time
for _ in range(22):
    if os.fork() == 0:
        kept = bytearray(6 << 20)
        time.sleep(1000)
os.wait()
os.kill(0, 9)
"""
SCRIPTS = {
    "1-flood": "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\n",
    "2-group": "#!/bin/sh\nkill -9 0\n",
    "3-daemon": "#!/bin/sh\nsleep 1000 &\nsetsid sleep 1000 &\n",
    "4-hogs": HOGS,
    "5-bomb": BOMB,
    "6-good": "#!/bin/sh\necho the next one has its turn\n",
    "7-bomb-behind": "#!/bin/sh\n/var/lib/cloud/instance/scripts/5-bomb >/dev/null 2>&1 </dev/null &\n",
}


def _archive(scripts: dict[str, str]) -> str:
    """Scripts as parts of one document."""
    parts = ["#cloud-config-archive"]
    for name, script in scripts.items():
        content = "".join(f"\n    {line}" for line in script.splitlines())
        parts.append(f"- type: text/x-shellscript\n  filename: {name}\n  content: |{content}")
    return "\n".join(parts) + "\n"


@pytest.fixture(scope="module")
def seen(tiny: store.Image, host: boot.Host) -> fault_guest.Seen:
    """The boot."""
    with fault_guest.initrd(tiny, _archive(SCRIPTS), limits=LIMITS, before=FENCE, agent=AGENT) as image:
        found = fault_guest.boot(tiny, host.accelerator, image, memory_mib=192)
    fault_guest.must_have_ended(found)
    return found


@pytest.fixture(scope="module")
def result(seen: fault_guest.Seen) -> Result:
    """What the agent told the host at the end of the final stage."""
    assert seen.result is not None, seen.console[-3000:]
    return seen.result


@pytest.fixture(scope="module")
def reports(result: Result) -> dict[str, CommandReport]:
    """How each script ended, by its name."""
    [module] = [each for each in result.modules if each.name == "scripts_user"]
    return {report.argv[0].rpartition("/")[2]: report for report in module.commands}


def test_ga_w12_the_final_stage_ends_and_tells_of_every_script(
    result: Result, reports: dict[str, CommandReport]
) -> None:
    assert list(reports) == list(SCRIPTS)
    failed = [name for name, report in reports.items() if report.status != 0]
    assert failed == ["2-group", "4-hogs", "5-bomb"]
    [error] = result.errors
    assert f"Runparts: 3 failures ({','.join(failed)}) in {len(SCRIPTS)} attempted commands" in error
    assert result.status == "error"
    assert all(times.finished for times in result.stages.values())
    assert result.modules[-1].stage == "modules-final"


def test_ga_w12_a_flood_reaches_the_console_up_to_its_limit(
    seen: fault_guest.Seen, reports: dict[str, CommandReport]
) -> None:
    assert reports["1-flood"].status == 0
    assert 20_000 <= seen.console.count("x") < 25_000
    assert "[more than 20000 bytes of output: the rest is not shown]" in seen.console


def test_ga_w12_a_script_that_kills_its_group_or_leaves_daemons_does_not_touch_the_agent(
    reports: dict[str, CommandReport],
) -> None:
    assert reports["2-group"].status == -9
    assert reports["3-daemon"].status == 0


def test_ga_w12_when_memory_runs_out_the_script_dies_and_not_the_agent(seen: fault_guest.Seen) -> None:
    killed = [line for line in seen.console.splitlines() if "Out of memory: Killed process" in line]
    assert killed, "there was memory enough: this shows nothing"
    assert all("(4-hogs)" in line for line in killed)


def test_ga_s10_a_fork_bomb_takes_every_process_until_its_stage_ends(
    seen: fault_guest.Seen, reports: dict[str, CommandReport]
) -> None:
    """A pids limit of 32. The next script has a process again, and the agent's end needs none."""
    assert "the limit was met: max " in seen.console
    assert "the limit was met: max 0" not in seen.console
    assert (reports["5-bomb"].status, reports["6-good"].status) == (124, 0)
    assert "its time was up" in reports["5-bomb"].tail
    assert "the next one has its turn" in seen.console
