"""The page in a headless Chromium: signed in to, a server launched by keyboard, its boot followed live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spawner.compute.agent_events import Finished, Result, Started
from spawner.conductor import Caller
from tests.contract.page import browser
from tests.contract.page.conftest import PASSWORD, Site

# Every text that is shown, with its contrast to the ground behind it (WCAG 2.2, relative luminance).
CONTRASTS = Path(__file__).with_name("contrasts.js").read_text()
# What a screen reader would miss: fields and pictures without a name, doubled ids, missing landmarks.
NAMELESS = Path(__file__).with_name("nameless.js").read_text()
FITS = "document.documentElement.scrollWidth <= window.innerWidth"


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[browser.Tab]:
    """A browser; skipped with the reason where there is none."""
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium is installed; ./dev test installs it where Debian has it")
    async with browser.tab(program, tmp_path / "profile") as opened:
        yield opened
        assert opened.errors == []


async def _sign_in(tab: browser.Tab, site: Site) -> None:
    await tab.open(f"{site.cloud.url}/")
    await tab.type("#name", "member")
    await tab.type("#password", PASSWORD)
    await tab.value("window.before = true")
    await tab.key("Enter")
    await tab.until("window.before === undefined && location.pathname === '/page/servers'")


async def _looks_right(tab: browser.Tab, where: str) -> None:
    """Names, contrast in both colour schemes, and no sideways scrolling on a phone."""
    assert (where, await tab.value(NAMELESS)) == (where, [])
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await tab.send("Emulation.setEmulatedMedia", features=features)
        assert (where, scheme, await tab.value(CONTRASTS)) == (where, scheme, [])
    for width in (360, 1100):
        await tab.size(width, 800)
        assert (where, width, await tab.value(FITS)) == (where, width, True)


@pytest.mark.slow
async def test_a_server_is_launched_and_its_boot_followed_without_reloading(
    site: Site, tab: browser.Tab
) -> None:
    await site.image()
    await tab.size(1100, 800)
    await tab.open(f"{site.cloud.url}/page/sign-in")
    await _looks_right(tab, "sign-in")
    await _sign_in(tab, site)
    await _looks_right(tab, "no servers")

    await tab.go("#first")
    await tab.type("#name", "web-1")
    await tab.type("#user_data", "#cloud-config\nuserz: []\n")
    await tab.until("document.querySelector('#findings').innerText.includes('line 2, userz')")
    await _looks_right(tab, "launch")
    await tab.value("document.querySelector('#name').focus(); window.before = true")
    await tab.key("Enter")
    await tab.until("window.before === undefined && document.querySelector('h1').innerText === 'web-1'")
    server = (await tab.value("location.pathname")).rpartition("/")[2]
    await site.cloud.conductor.settled()

    await tab.value("window.stays = true")
    report = site.node.on_report
    assert report is not None
    await report(server, Started("init-local", 1.0))
    await report(server, Finished("init-local", "SUCCESS", 0.1, 1.1))
    await report(server, Started("modules-config/runcmd", 2.0))
    await tab.until("document.querySelector('.step').innerText === 'modules-config: runcmd'")
    await tab.until("document.querySelectorAll('svg rect').length >= 3")
    site.node.said[server] = b"<b>login:</b> \x1b[1m\n" * 50
    await tab.until("document.querySelector('#console-text').innerText.includes('<b>login:</b> \\\\x1b[1m')")
    await tab.value("document.querySelector('#do-reboot').focus()")
    await report(server, Result("done"))
    await tab.until("document.querySelector('progress').value === 5")
    assert await tab.value("document.activeElement.id") == "do-reboot"
    assert await tab.value("window.stays") is True
    await tab.value("document.querySelector('details').open = true")
    await _looks_right(tab, "server")

    await tab.open(f"{site.cloud.url}/page/servers")
    await tab.until("document.querySelector('.step').innerText === 'the agent reports: done'")
    await _looks_right(tab, "servers")
    await site.cloud.conductor.act(server, "stop", Caller("p-demo", "u-member", "req-1"))
    await tab.until("document.querySelector('.status').innerText === 'SHUTOFF'")
    await tab.until("document.querySelector('#said').innerText === 'SHUTOFF'")


@pytest.mark.slow
async def test_the_policy_stops_a_script_that_slipped_through(site: Site, tab: browser.Tab) -> None:
    await _sign_in(tab, site)
    await tab.value(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = true\">');"
        "const s = document.createElement('script'); s.textContent = 'window.hacked = true';"
        "document.body.append(s); 0"
    )
    await tab.until("document.querySelector('img').complete")
    assert await tab.value("window.hacked") is None
    assert any("Content Security Policy" in each for each in tab.errors)
    tab.errors.clear()
