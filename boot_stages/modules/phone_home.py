"""`phone_home`: tell an address that the guest is up, with its keys and names.

Source: guest-agent.md 3.3, D21.
"""

from __future__ import annotations

from boot_stages.actions import PostForm, warn
from boot_stages.hostname import wanted_names
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, Kind, either, key, list_of, one_of, record, with_schema
from boot_stages.templates import UnknownName, render_basic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

KEYS = {f"pub_key_{kind}": f"/etc/ssh/ssh_host_{kind}_key.pub" for kind in ("rsa", "ecdsa", "ed25519")}
FIELDS = (*KEYS, "instance_id", "hostname", "fqdn")
DEFAULT_TRIES = 10
_ANYTHING: Kind[object] = Kind({}, lambda value, _path, _faults: value)


class PhoneKeys(Keys):
    """The map below `phone_home`."""

    url: str = key(
        "Where the form is posted; may contain $INSTANCE_ID.",
        with_schema(TEXT, {"type": "string", "format": "uri"}),
        default="",
        required=True,
    )
    post: str | tuple[str, ...] = key(
        f"`all`, or a list of {', '.join(FIELDS)}.",
        either(
            with_schema(TEXT, {"enum": ["all"]}),
            with_schema(
                list_of(TEXT), {"type": "array", "items": one_of(*FIELDS).schema() | {"type": "string"}}
            ),
        ),
        default="all",
    )
    tries: object = key(
        "How often it is tried.", with_schema(_ANYTHING, {"type": "integer"}), default=DEFAULT_TRIES
    )


class Config(Keys):
    """Keys of `phone_home`."""

    phone_home: PhoneKeys = key(
        "Post data of the guest to an address.", record(PhoneKeys), default=PhoneKeys()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One POST; what cannot be read is `N/A`, and what is wrong with the settings a warning."""
    keys = config.phone_home
    if not keys.url:
        return (warn("phone_home.url is missing: nothing is posted"),)
    warnings: list[Action] = []
    tries = keys.tries if isinstance(keys.tries, int) and not isinstance(keys.tries, bool) else DEFAULT_TRIES
    if tries != keys.tries:
        warnings.append(warn(f"phone_home.tries is not a number: {DEFAULT_TRIES} is used"))
    wanted = keys.post if isinstance(keys.post, tuple) else FIELDS
    values, missing = _values(wanted, facts)
    warnings.extend(warn(text) for text in missing)
    try:
        url = render_basic(keys.url, {"INSTANCE_ID": facts.cloud.instance_id})
    except UnknownName as error:
        return (*warnings, warn(f"phone_home.url: {error}: nothing is posted"))
    return (*warnings, PostForm(url, values, tries, wait_s=3.0))


def _values(wanted: tuple[str, ...], facts: Facts) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    hostname, fqdn = (facts.system.get(name) for name in ("hostname", "fqdn"))
    names = wanted_names(str(hostname or ""), str(fqdn or ""), facts.cloud)
    known = {"instance_id": facts.cloud.instance_id, "hostname": names.hostname, "fqdn": names.fqdn}
    values: list[tuple[str, str]] = []
    missing: list[str] = []
    for name in wanted:
        if name in KEYS:
            text = facts.read_text(KEYS[name])
            if text is None:
                missing.append(f"phone_home: {KEYS[name]} cannot be read: N/A is posted")
            values.append((name, "N/A" if text is None else text.strip()))
        elif name in known:
            values.append((name, known[name] or "N/A"))
        else:
            missing.append(f"phone_home.post: {name} is not known. Use one of: {', '.join(FIELDS)}")
    return tuple(values), missing


MODULE = Module("phone_home", Config, plan)
