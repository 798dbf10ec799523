(() => {
  const wrong = [];
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!field.labels.length) wrong.push(`field ${field.name} has no label`);
  for (const each of document.querySelectorAll("button, a"))
    if (!each.textContent.trim()) wrong.push(`${each.outerHTML} has no text`);
  for (const each of document.querySelectorAll("svg[role=img], section, nav, progress, [tabindex='0']"))
    if (!(each.getAttribute("aria-label") || document.getElementById(each.getAttribute("aria-labelledby"))))
      wrong.push(`${each.tagName} has no name`);
  for (const landmark of ["main", "header", "h1"])
    if (document.querySelectorAll(landmark).length !== 1) wrong.push(`not one ${landmark}`);
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  if (new Set(ids).size !== ids.length) wrong.push("an id is there twice");
  if (!document.documentElement.lang) wrong.push("no language");
  return wrong;
})()
