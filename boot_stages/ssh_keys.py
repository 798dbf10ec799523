"""authorized_keys files: where they are, and how new keys are put among the old ones.

Source: guest-agent.md 3.3 (authorized keys file).
"""

from __future__ import annotations

from boot_stages.actions import MakeDirectory, WriteFile
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import _Hash as Hash

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

KEY_TYPES = (
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "ssh-dss",
    "ssh-ed25519",
    "ssh-rsa",
    "ssh-xmss@openssh.com",
)
_CERTIFICATE = "-cert-v01@openssh.com"
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class KeyLine(Value):
    """One line of authorized_keys: options, type, base64 blob, comment. `blob` is empty for other lines."""

    line: str
    options: str = ""
    kind: str = ""
    blob: str = ""
    comment: str = ""


def parse_line(line: str) -> KeyLine:
    """Take one line apart; comments and what is not a key keep only `line`."""
    text = line.strip()
    if not text or text.startswith("#"):
        return KeyLine(line)
    options = ""
    if not _is_type(text.split(None, 1)[0]):
        options, text = _split_options(text)
    fields = text.split(None, 2)
    if len(fields) < 2 or not _is_type(fields[0]):
        return KeyLine(line)
    return KeyLine(line, options, fields[0], fields[1], fields[2] if len(fields) > 2 else "")


def digest(blob: str, hash_name: str = "sha256") -> bytes | None:
    """The hash of a key; None when its blob is not base64. Raises ValueError for a hash that is not known."""
    import binascii

    found = _new_hash(hash_name)
    if blob.rstrip("=").strip(_BASE64):
        return None
    try:
        found.update(binascii.a2b_base64(blob))
    except binascii.Error:
        return None
    return found.digest()


def _new_hash(name: str) -> Hash:
    """As `hashlib.new`, which loads OpenSSL first: 3 ms of a boot (docs/decisions/0126)."""
    try:
        if name == "sha256":
            from _sha2 import sha256  # type: ignore[import-not-found]

            return sha256()  # type: ignore[no-any-return]
    except ImportError:  # before Python 3.12, or built without
        pass
    import hashlib

    found = hashlib.new(name)
    if not found.digest_size:
        raise ValueError(f"{name} is of no fixed length")
    return found


def _is_type(word: str) -> bool:
    return word in KEY_TYPES or word.endswith(_CERTIFICATE)


def _split_options(text: str) -> tuple[str, str]:
    """Options end at the first blank outside of double quotes."""
    quoted = False
    for index, letter in enumerate(text):
        if letter == '"' and text[index - 1 : index] != "\\":
            quoted = not quoted
        elif letter in " \t" and not quoted:
            return text[:index], text[index:].strip()
    return text, ""


def with_options(line: str, options: str) -> str:
    """A key line with options put in front of it (those it had are replaced)."""
    parsed = parse_line(line)
    if not parsed.blob or not options:
        return line.strip()
    return " ".join(word for word in (options, parsed.kind, parsed.blob, parsed.comment) if word)


def merged(old: str, new: Iterable[str]) -> str:
    """The old file with the new keys: a line of the same blob is replaced, other keys come at the end."""
    lines = old.splitlines()
    for each in new:
        wanted = each.strip()
        blob = parse_line(wanted).blob
        if not wanted:
            continue
        places = [index for index, line in enumerate(lines) if blob and parse_line(line).blob == blob]
        if places:
            for index in places:
                lines[index] = wanted
        elif wanted not in lines:
            lines.append(wanted)
    return "".join(f"{line}\n" for line in lines)


def authorize(user: str, home: str, keys: tuple[str, ...], facts: Facts) -> tuple[Action, ...]:
    """The actions that let `keys` (whole lines) log in as a user; none when they all can already."""
    path = authorized_keys_path(user, home, facts)
    old = facts.read_text(path) or ""
    content = merged(old, keys)
    directory = path.rpartition("/")[0]
    if content == old and facts.mode(path) == 0o600:
        return ()
    in_home = path.startswith(f"{home.rstrip('/')}/")
    as_user = user if in_home else ""
    owner = user if in_home else "root:root"
    make: tuple[Action, ...] = ()
    if in_home and facts.mode(directory) != 0o700:
        make = (MakeDirectory(directory, 0o700, owner, as_user),)
    return (
        *make,
        WriteFile(path, content.encode("utf-8", "surrogateescape"), 0o600, owner, as_user=as_user),
    )


def authorized_keys_path(user: str, home: str, facts: Facts) -> str:
    """sshd's first AuthorizedKeysFile that is the user's own, else ~/.ssh/authorized_keys."""
    for pattern in sshd_setting("authorizedkeysfile", facts).split():
        if "%" not in pattern and pattern.startswith("/"):
            continue  # one file for all users: not a place for one user's keys
        path = pattern.replace("%%", "\0").replace("%h", home).replace("%u", user).replace("\0", "%")
        path = path if path.startswith("/") else f"{home.rstrip('/')}/{path}"
        if _is_safe(path, home, facts):
            return path
    return f"{home.rstrip('/')}/.ssh/authorized_keys"


def _is_safe(path: str, home: str, facts: Facts) -> bool:
    """Nothing below home may be a link, nothing on the way may be written by everyone."""
    steps = path.strip("/").split("/")
    for count in range(1, len(steps)):
        parent = "/" + "/".join(steps[:count])
        if parent.startswith(f"{home}/") and facts.link_target(parent) is not None:
            return False
        mode = facts.mode(parent)
        if mode is not None and mode & 0o002:
            return False
    return True


def sshd_setting(keyword: str, facts: Facts) -> str:
    """The first value of a keyword in sshd_config before any Match block, lower-case keyword; or ""."""
    for line in (facts.read_text("/etc/ssh/sshd_config") or "").splitlines():
        words = line.strip().replace("=", " ", 1).split(None, 1)
        if len(words) < 2 or words[0].startswith("#"):
            continue
        if words[0].lower() == "match":
            break
        if words[0].lower() == keyword:
            return words[1].strip()
    return ""


# Keys that may not log in but tell the caller which user to take. Source: guest-agent.md 3.3.

DISABLE_OPTIONS = (
    "no-port-forwarding,no-agent-forwarding,"
    'no-X11-forwarding,command="echo \'Please login as the user \\"$USER\\"'
    ' rather than the user \\"$DISABLE_USER\\".\';echo;sleep 10;exit 142"'
)


def disable_options(template: str, user: str, disabled: str) -> str:
    """The key options for a disabled login: which user to take instead of which."""
    return template.replace("$USER", user).replace("$DISABLE_USER", disabled)


def redirected(user: str, home: str, default_user: str, facts: Facts) -> tuple[Action, ...]:
    """Write the cloud's keys for `user`, each with a forced command that names the default user."""
    options = disable_options(DISABLE_OPTIONS, default_user, user)
    return authorize(user, home, tuple(with_options(key, options) for key in facts.cloud.public_keys), facts)
