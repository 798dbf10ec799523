"use strict";
// Fresh parts of the page when something happened: the server says when (server-sent events), and renders them.
(() => {
  const live = document.getElementById("live");
  const said = document.getElementById("said");

  const follow = (element) => { element.scrollTop = element.scrollHeight; };

  // Swapped parts keep what the reader was at: focus, an opened table, where the console was scrolled to.
  const swap = (html) => {
    const focused = document.activeElement && document.activeElement.id;
    const open = new Set([...live.querySelectorAll("details[open]")].map((each) => each.id));
    const before = document.getElementById("console-text");
    const atEnd = !before || before.scrollTop + before.clientHeight >= before.scrollHeight - 40;
    const top = before ? before.scrollTop : 0;
    live.innerHTML = html;
    for (const each of live.querySelectorAll("details")) each.open = open.has(each.id);
    const after = document.getElementById("console-text");
    if (after) { if (atEnd) follow(after); else after.scrollTop = top; }
    if (focused && live.querySelector("#" + CSS.escape(focused))) document.getElementById(focused).focus();
    tell();
  };

  // Screen readers hear a change of state, not every step.
  let last = "";
  const tell = () => {
    const states = [...live.querySelectorAll(".status")].map((each) => each.textContent).join(", ");
    if (last && states !== last && said) said.textContent = states;
    last = states;
  };

  let due = 0, busy = false, again = false;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(live.dataset.live, { headers: { Accept: "text/html" }, redirect: "manual" });
      if (answer.status === 200) swap(await answer.text());
      else if (answer.type === "opaqueredirect" || answer.status === 404) location.assign("/page/servers");
    } catch { /* the server is away: the next event brings it back */ }
    busy = false;
    if (again) { again = false; refresh(); }
  };

  if (live) {
    const console_ = document.getElementById("console-text");
    if (console_) follow(console_);
    tell();
    const events = new EventSource(live.dataset.events);
    events.onmessage = () => { clearTimeout(due); due = setTimeout(refresh, 150); };
  }

  // User data is checked while it is written.
  const text = document.querySelector("textarea[data-lint]");
  if (text) {
    const findings = document.getElementById("findings");
    let timer = 0;
    text.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        if (!text.value.trim()) { findings.textContent = ""; return; }
        const body = new URLSearchParams({ user_data: text.value, csrf: text.form.elements.csrf.value });
        const answer = await fetch(text.dataset.lint, { method: "POST", body });
        if (answer.ok) findings.innerHTML = await answer.text();
      }, 500);
    });
  }
})();
