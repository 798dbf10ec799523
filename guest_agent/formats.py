"""What a piece of user data is: the header lines, the types, and what each type needs. One table."""

from __future__ import annotations

from boot_stages.value import Value

NOT_MULTIPART = "text/x-not-multipart"
PLAIN = "text/plain"
CLOUD_CONFIG = "text/cloud-config"
ARCHIVE = "text/cloud-config-archive"
JSON_PATCH = "text/cloud-config-jsonp"
SCRIPT = "text/x-shellscript"
INCLUDE = "text/x-include-url"
INCLUDE_ONCE = "text/x-include-once-url"
PART_HANDLER = "text/part-handler"
BOOTHOOK = "text/cloud-boothook"
JINJA = "text/jinja2"
BINARY = "application/octet-stream"


class Format(Value):
    """A header line (lower case) and the type it stands for."""

    header: str
    type: str


# Longest first, so that #cloud-config does not hide the longer words.
FORMATS = (
    Format("#cloud-config-archive", ARCHIVE),
    Format("#cloud-config-jsonp", JSON_PATCH),
    Format("## template: jinja", JINJA),
    Format("#cloud-boothook", BOOTHOOK),
    Format("#cloud-config", CLOUD_CONFIG),
    Format("#include-once", INCLUDE_ONCE),
    Format("#part-handler", PART_HANDLER),
    Format("#include", INCLUDE),
    Format("#!", SCRIPT),
)

# Types without a header line: a MIME part may declare them.
SCRIPT_BY_FREQUENCY = {f"{SCRIPT}-per-{word}": f"per-{word}" for word in ("boot", "instance", "once")}

GZIP_MAGIC = b"\x1f\x8b"
GZIP = frozenset(
    f"application/{word}"
    for word in ("gzip", "gzip-compressed", "gzipped", "x-compress", "x-compressed", "x-gunzip", "x-gzip",
                 "x-gzip-compressed")
)  # fmt: skip

# Declared types that are looked at again; any other declared type is believed.
LOOKED_AT = frozenset({PLAIN, NOT_MULTIPART, SCRIPT})

# What a template may turn out to be.
RENDERED = frozenset({CLOUD_CONFIG, JSON_PATCH, SCRIPT, BOOTHOOK, *SCRIPT_BY_FREQUENCY})


def sniff(payload: bytes) -> str | None:
    """The type that the first line names: white space before it, case and what follows do not matter."""
    text = _start(payload[:4096]) or _start(payload)
    return next((known.type for known in FORMATS if text.startswith(known.header)), None)


def _start(payload: bytes) -> str:
    return payload.decode("utf-8", "surrogateescape").lstrip().lstrip("\ufeff").lstrip()[:64].lower()


def declared_types() -> list[str]:
    """Every type that a MIME part may declare to some effect, sorted."""
    return sorted({known.type for known in FORMATS} | set(SCRIPT_BY_FREQUENCY))
