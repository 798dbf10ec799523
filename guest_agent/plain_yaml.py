"""The plain part of YAML, read and written without a YAML library; whatever else there is, it leaves alone.

Importing PyYAML costs a first boot a fifth of its CPU time, and nearly every document of a boot is plain:
block maps and lists, words, numbers, quoted texts, literal blocks and their aliases (cloud-init's own
05_logging.cfg has them), flow lists of one line. This reads those,
each to what PyYAML makes of it, and refuses the rest by answering None: the caller then asks PyYAML. Being
wrong is not allowed, refusing is. `tests/unit/guest_agent/test_plain_yaml.py` holds both sides against
PyYAML. See docs/decisions/0121-plain-yaml.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Path = tuple[object, ...]

# A longer document is rare, and the C library is faster there.
LENGTH_LIMIT = 64 << 10
DEPTH_LIMIT = 24
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset("0123456789")
KEY_STARTS = LETTERS | {"_"}
KEY_LETTERS = LETTERS | DIGITS | frozenset("_-./")
# What YAML 1.1 takes for something else than text. Nothing else that begins with a letter is special.
WORDS: dict[str, bool | None] = {
    form: value
    for word, value in (("yes", True), ("no", False), ("true", True), ("false", False), ("on", True),
                        ("off", False), ("null", None))
    for form in (word, word.capitalize(), word.upper())
}  # fmt: skip
# A text may begin with these as well; numbers, dates and YAML's own signs never do.
TEXT_STARTS = LETTERS | frozenset("/$_(")
# Numbers and dates hold no other letters, once 0x and 0b are set aside.
NUMBER_LETTERS = frozenset("eEtTzZ")
RADIX = ("0x", "0X", "0b", "0B")
# Ten digits are more than any setting has, and octal ones are those of file modes.
NUMBER_DIGITS = 10
ALIASES_LIMIT = 16
FLOW_ENDS = ",[]{}"
NOT_IN_FLOW_TEXT = frozenset(":#\"'&*!|>%@`?\\")


class Refused(Exception):
    """Something that is not plain."""


def read(text: str) -> tuple[object, dict[Path, int]] | None:
    """The value of the one document, and the line (from 1) of each key and item; None if it is not plain."""
    if len(text) > LENGTH_LIMIT or not text.isascii() or not text.replace("\n", "").isprintable():
        return None
    try:
        return _Reader(text).document()
    except Refused:
        return None


class _Reader:
    """A cursor over the lines. The dash of an item that holds a block becomes a space on the way."""

    def __init__(self, text: str) -> None:
        self.raw = text.split("\n")
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.named = _Named()

    def document(self) -> tuple[object, dict[Path, int]]:
        indent, text = self.peek()
        is_marked = text == "---" and indent == 0
        if is_marked:
            self.raw[self.at] = ""
            self._without_end_mark()
            indent, text = self.peek()
        if not text:
            if is_marked:
                raise Refused
            return None, {}
        if indent:
            raise Refused
        self.lines[()] = self.at + 1
        if text[0] in "[{":  # JSON is YAML
            self.at += 1
            value = self.inline(text, (), 0)
        else:
            value = self.block((), 0)
        if self.peek()[1]:
            raise Refused
        return value, self.lines

    def _without_end_mark(self) -> None:
        last = len(self.raw) - 1
        while last and not self.raw[last]:
            last -= 1
        if self.raw[last] == "...":
            self.raw[last] = ""

    def peek(self) -> tuple[int, str]:
        """Indent and text of the next line that says something; (-1, "") at the end."""
        while self.at < len(self.raw):
            line = self.raw[self.at]
            text = line.strip(" ")
            if text and text[0] != "#":
                return len(line) - len(line.lstrip(" ")), text
            self.at += 1
        return -1, ""

    def block(self, path: Path, depth: int) -> object:
        """The map or list whose first line is the next one."""
        if depth > DEPTH_LIMIT:
            raise Refused
        indent, text = self.peek()
        if _is_item(text):
            return self.items(path, indent, depth, is_within_map=False)
        return self.map(path, indent, depth)

    def map(self, path: Path, indent: int, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while True:
            here, text = self.peek()
            if here < indent:
                return found
            key, rest = _key(text) or ("", "")
            if here > indent or not key or key in found:
                raise Refused
            self.at += 1
            below = (*path, key)
            self.lines[below] = self.at
            found[key] = self.value(rest, below, indent, depth)

    def value(self, rest: str, path: Path, indent: int, depth: int) -> object:
        """What stands after a key: on its line, or below it."""
        if rest and rest[0] != "#":
            return self.inline(rest, path, indent)
        here, text = self.peek()
        if here > indent:
            return self.block(path, depth + 1)
        if here == indent and _is_item(text):
            return self.items(path, indent, depth + 1, is_within_map=True)
        return None

    def items(self, path: Path, indent: int, depth: int, *, is_within_map: bool) -> list[object]:
        """A list. `is_within_map`: its dashes stand below the key, so the next key ends it."""
        if depth > DEPTH_LIMIT:
            raise Refused
        found: list[object] = []
        while True:
            here, text = self.peek()
            if here < indent or (here == indent and is_within_map and not _is_item(text)):
                return found
            if here > indent or not _is_item(text):
                raise Refused
            found.append(self.item(text[1:].lstrip(" "), (*path, len(found)), indent, depth))

    def item(self, rest: str, path: Path, indent: int, depth: int) -> object:
        if rest and rest[0] != "#" and not _is_item(rest) and _key(rest) is None:
            self.at += 1
            self.lines[path] = self.at
            return self.inline(rest, path, indent)
        line = self.raw[self.at]
        self.raw[self.at] = f"{line[:indent]} {line[indent + 1 :]}"
        here, _text = self.peek()
        if here <= indent:  # an empty item
            raise Refused
        self.lines[path] = self.at + 1
        return self.block(path, depth + 1)

    def inline(self, rest: str, path: Path, indent: int) -> object:
        """A scalar or a flow collection; a literal block goes on in the lines below."""
        if rest[0] == "|":
            return self.literal(rest, indent)
        if rest[0] == "&":
            name, _, header = rest[1:].partition(" ")
            line = self.at
            return self.named.add(name, self.literal(header, indent), line)
        if rest[0] in "[{":
            flow = _Flow(rest, self.lines, self.at, self.named)
            value = flow.value(path, 0)
            _end(rest[flow.at :])
            return value
        if rest[0] in "'\"":
            value, end = _quoted(rest, 0)
            _end(rest[end:])
            return value
        text = rest.partition(" #")[0].rstrip(" ")
        if ": " in text or text[-1] == ":":
            raise Refused
        return _resolved(text)

    def literal(self, header: str, indent: int) -> str:
        """The lines of a `|` or `|-` block; only those above a further line, so that each has its end."""
        first = self.raw[self.at] if self.at < len(self.raw) else ""
        margin = len(first) - len(first.lstrip(" "))
        if header not in {"|", "|-"} or margin <= indent or margin == len(first):
            raise Refused
        found = []
        while self.at < len(self.raw) and not self.raw[self.at][:margin].strip(" "):
            found.append(self.raw[self.at][margin:])
            self.at += 1
        if self.at == len(self.raw) and found[-1]:
            raise Refused  # the document ends without the end of its last line
        while not found[-1]:
            found.pop()
        return "\n".join(found) + ("" if header == "|-" else "\n")


class _Named:
    """The literal blocks that have an anchor, each with its line."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, int]] = {}
        self.uses = 0

    def add(self, name: str, text: str, line: int) -> str:
        if not name or not KEY_LETTERS.issuperset(name) or name in self.found:
            raise Refused
        self.found[name] = text, line
        return text

    def use(self, name: str) -> tuple[str, int]:
        self.uses += 1
        if name not in self.found or self.uses > ALIASES_LIMIT:
            raise Refused
        return self.found[name]


class _Flow:
    """A cursor over `[..]` and `{..}` of one line."""

    def __init__(self, text: str, lines: dict[Path, int], line: int, named: _Named) -> None:
        self.named = named
        self.text = f"{text}\0"
        self.at = 0
        self.lines = lines
        self.line = line

    def next(self) -> str:
        """The next character that is no space."""
        while self.text[self.at] == " ":
            self.at += 1
        return self.text[self.at]

    def value(self, path: Path, depth: int) -> object:
        if depth > DEPTH_LIMIT:
            raise Refused
        first = self.next()
        if first == "[":
            return self.items(path, depth)
        if first == "{":
            return self.pairs(path, depth)
        if first in "'\"":
            value, self.at = _quoted(self.text, self.at)
            return value
        if first == "*":
            self.at += 1
            value, line = self.named.use(self.word())
            if isinstance(path[-1], int):  # an item is where its text is; a key stays where it stands
                self.lines[path] = line
            return value
        return _resolved(self.word())

    def word(self) -> str:
        start = self.at
        while self.text[self.at] not in FLOW_ENDS and self.text[self.at] not in NOT_IN_FLOW_TEXT:
            if self.text[self.at] == "\0":
                raise Refused
            self.at += 1
        return self.text[start : self.at].rstrip(" ")

    def items(self, path: Path, depth: int) -> list[object]:
        found: list[object] = []
        self.at += 1
        while self.next() != "]" or found:
            below = (*path, len(found))
            self.lines[below] = self.line
            found.append(self.value(below, depth + 1))
            if self.ends("]"):
                return found
        self.at += 1
        return found

    def pairs(self, path: Path, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        self.at += 1
        while self.next() != "}" or found:
            key = self.key()
            if key in found or self.text[self.at : self.at + 2] != ": ":
                raise Refused
            self.at += 1
            below = (*path, key)
            self.lines[below] = self.line
            found[key] = self.value(below, depth + 1)
            if self.ends("}"):
                return found
        self.at += 1
        return found

    def key(self) -> str:
        if self.next() in "'\"":
            key, self.at = _quoted(self.text, self.at)
            if not key or len(key) > LONGEST_KEY:
                raise Refused
            return key
        key = self.word()
        if not _is_key(key):
            raise Refused
        return key

    def ends(self, close: str) -> bool:
        """Whether the collection is closed here; a comma says that it goes on."""
        char = self.next()
        if char not in {",", close}:
            raise Refused
        self.at += 1
        return char == close


def _is_item(text: str) -> bool:
    return text[:2] == "- " or text == "-"


def _key(text: str) -> tuple[str, str] | None:
    """The key of a line and what follows it, or None where the line has no plain key."""
    key, colon, rest = text.partition(":")
    if not colon or rest[:1] not in {"", " "} or not _is_key(key):
        return None
    return key, rest.strip(" ")


def _is_key(text: str) -> bool:
    return text[:1] in KEY_STARTS and KEY_LETTERS.issuperset(text) and text not in WORDS


def _end(rest: str) -> None:
    """After a value only a comment may stand."""
    rest = rest.rstrip("\0")
    if rest.strip(" ") and (rest[0] != " " or rest.lstrip(" ")[0] != "#"):
        raise Refused


def _quoted(text: str, start: int) -> tuple[str, int]:
    """A quoted text without escapes, and where it ends."""
    close = text.find(text[start], start + 1)
    body = text[start + 1 : close]
    if close < 0 or "\\" in body or text[close + 1 : close + 2] == text[start]:
        raise Refused
    return body, close + 1


def _resolved(text: str) -> object:
    """What YAML 1.1 makes of a word that is not quoted."""
    if text in WORDS:
        return WORDS[text]
    if is_plain_text(text):
        return text
    if not text.isdigit() or len(text) > NUMBER_DIGITS:
        raise Refused
    if text[0] != "0" or text == "0":
        return int(text)
    if "8" in text or "9" in text:
        raise Refused
    return int(text, 8)


def is_plain_text(text: str) -> bool:
    """Whether a word is surely text: neither a number nor a date, and no sign of YAML's begins it."""
    if text[:1] in TEXT_STARTS:
        return text not in WORDS
    if text[:1] == "-":  # an option of a command
        return text[1:].removeprefix("-")[:1] in LETTERS
    if text[:1] not in DIGITS or text[:2] in RADIX:
        return False
    return bool((LETTERS - NUMBER_LETTERS).intersection(text))


# Writing.

# After this column PyYAML goes on in a new line, at the next space that stands alone.
WIDTH = 80
# A longer key would need a `?`.
LONGEST_KEY = 100
OCTAL_DIGITS = frozenset("01234567")
# Inside of a word these are letters to YAML, as long as no space follows ':' and none precedes '#'.
WORD_LETTERS = KEY_LETTERS | frozenset("$()+=:@%~^;*!?&|<>,[]{}'\"\\`# ")


def write(document: object, *, is_sorted: bool) -> str | None:
    """The document as PyYAML writes it in block style with an indent of 4; None where it is not plain."""
    lines: list[str] = []
    try:
        if not isinstance(document, dict) or not document:
            return None
        _write_map(document, 0, "", lines, is_sorted=is_sorted)
    except Refused:
        return None
    return "\n".join(lines) + "\n"


def _write_map(
    document: dict[object, object], indent: int, head: str, lines: list[str], *, is_sorted: bool
) -> None:
    """`head` is what stands before the first key: the dash of an item."""
    if indent > 4 * DEPTH_LIMIT or not all(type(key) is str and len(key) <= LONGEST_KEY for key in document):
        raise Refused
    keys: list[str] = sorted(document) if is_sorted else list(document)  # type: ignore[arg-type]  # texts, see above
    for key in keys:
        if not _is_key(key):
            raise Refused
        start, head = f"{head or ' ' * indent}{key}:", ""
        value = document[key]
        if isinstance(value, dict) and value:
            lines.append(start)
            _write_map(value, indent + 4, "", lines, is_sorted=is_sorted)
        elif isinstance(value, list) and value:
            lines.append(start)
            _write_list(value, indent, "", lines, is_sorted=is_sorted)
        else:
            lines.append(f"{start} {_written(value, len(start) + 1, indent + 4)}")


def _write_list(document: list[object], indent: int, head: str, lines: list[str], *, is_sorted: bool) -> None:
    if indent > 4 * DEPTH_LIMIT:
        raise Refused
    for value in document:
        start, head = f"{head or ' ' * indent}-", ""
        if isinstance(value, dict) and value:
            _write_map(value, indent + 4, f"{start}   ", lines, is_sorted=is_sorted)
        elif isinstance(value, list) and value:
            _write_list(value, indent + 4, f"{start}   ", lines, is_sorted=is_sorted)
        else:
            lines.append(f"{start} {_written(value, len(start) + 1, indent + 4)}")


def _written(value: object, column: int, indent: int) -> str:
    """One scalar, or an empty collection: its first line begins at `column`, further ones at `indent`."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[]"
    if type(value) is not str:
        raise Refused
    if value == "" or value in WORDS:
        return f"'{value}'"
    if not WORD_LETTERS.issuperset(value.replace("\n", "")) or value[0] in " \n" or value[-1] == " ":
        raise Refused
    if "\n" in value or ": " in value or " #" in value or value[-1] == ":" or _is_number(value):
        return _written_quoted(value, column, indent)
    if not is_plain_text(value):
        raise Refused
    return _folded(value, column, indent)


def _is_number(text: str) -> bool:
    """Whether this is surely a whole number to YAML 1.1, as `0644` is; `08` is a text."""
    return DIGITS.issuperset(text) and (text[0] != "0" or OCTAL_DIGITS.issuperset(text))


def _written_quoted(text: str, column: int, indent: int) -> str:
    """In single quotes: n line breaks are written as n + 1. Beside a space they need double ones: refused."""
    if " \n" in text or "\n " in text:
        raise Refused
    first, *others = text.replace("'", "''").split("\n")
    written, breaks = f"'{_folded(first, column + 1, indent)}", 0
    for number, line in enumerate(others, 1):
        breaks += 1
        if line or number == len(others):
            written += "\n" * (breaks + 1) + " " * indent + _folded(line, indent, indent)
            breaks = 0
    return f"{written}'"


def _folded(text: str, column: int, indent: int) -> str:
    """The text from `column` on, broken where PyYAML breaks it."""
    before, *words = text.split(" ")
    written, column = before, column + len(before)
    for word in words:
        # Several spaces, which are empty words here, are never broken.
        if word and before and column > WIDTH:
            written, column = f"{written}\n{' ' * indent}", indent
        else:
            written, column = f"{written} ", column + 1
        written, column, before = written + word, column + len(word), word
    return written
