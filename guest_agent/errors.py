"""What can go wrong in the agent. Each class takes the facts and words itself.

AgentError                     code word for logs and machines in `code`
├── LimitExceeded              outside data is larger, deeper or slower than allowed
├── UnreadableYaml             not YAML, or YAML that we refuse; with line and column
├── UnreadableJson             the same for JSON
├── PartRefused                one part of a document is dropped, the others count
│   ├── BadMergeSpec           merge_how that cannot be followed
│   ├── BadPatch               a JSON patch that does not apply
│   └── BadTemplate            a template that does not render
├── UserDataUnusable           the network stage stops before its modules (cloud-init does the same)
│   ├── NotUtf8                a MIME document must be UTF-8
│   ├── BadCompression         a part that says gzip and is not
│   └── IncludeFailed          an address of an #include did not answer
├── FetchFailed                an HTTP exchange ended without a usable answer
└── SourceUnusable             a datasource is there, its data is not usable
"""

from __future__ import annotations


class AgentError(Exception):
    """Anything the agent says about its input; `code` is stable, the text is for people."""

    code = "agent"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class LimitExceeded(AgentError):
    """`where` crossed the limit called `name` (see limits.py), whose value is `maximum`."""

    code = "limit"

    def __init__(self, where: str, name: str, maximum: int) -> None:
        super().__init__(
            f"{where}: more than {maximum} ({name}). Make it smaller, or raise limits.{name} in the image."
        )
        self.name = name
        self.maximum = maximum


class UnreadableYaml(AgentError):
    """`source` is not usable as YAML; `line` and `column` count from 1 where they are known."""

    code = "yaml"

    def __init__(self, source: str, problem: str, line: int | None = None, column: int | None = None) -> None:
        place = source if line is None else f"{source}:{line}"
        inside = "" if column is None else f" (line {line} column {column})"
        super().__init__(f"{place}: {problem}{inside}")
        self.source = source
        self.problem = problem
        self.line = line
        self.column = column


class UnreadableJson(AgentError):
    """`source` is not usable as JSON."""

    code = "json"

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")


class PartRefused(AgentError):
    """A part is dropped; the text says which and why."""

    code = "part"


class BadMergeSpec(PartRefused):
    """`merge_how` that cannot be followed."""

    code = "merge-how"


class BadPatch(PartRefused):
    """A JSON patch that does not apply."""

    code = "json-patch"


class BadTemplate(PartRefused):
    """A template that does not render."""

    code = "template"


class UserDataUnusable(AgentError):
    """The document as a whole is refused: the network stage stops before its modules run."""

    code = "user-data"


class NotUtf8(UserDataUnusable):
    """A MIME document with bytes that are not UTF-8."""

    code = "user-data-encoding"

    def __init__(self, source: str, offset: int) -> None:
        super().__init__(
            f"{source}: not UTF-8 at byte {offset}. Save it as UTF-8, or send the part as base64."
        )


class BadCompression(UserDataUnusable):
    """A part whose type says gzip and whose bytes do not."""

    code = "user-data-gzip"

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: cannot be decompressed: {problem}. Compress it again with gzip.")


class IncludeFailed(UserDataUnusable):
    """`url` of an #include gave nothing; `chain` is how we came to it, outermost first."""

    code = "user-data-include"

    def __init__(self, url: str, chain: tuple[str, ...], problem: str) -> None:
        way = " -> ".join((*chain, url))
        super().__init__(f"#include {way}: {problem}")
        self.url = url
        self.problem = problem
        self.chain = chain


class FetchFailed(AgentError):
    """`url` gave no usable answer. `status` is the last HTTP status, None when there was none."""

    code = "fetch"

    def __init__(self, url: str, problem: str, status: int | None = None) -> None:
        super().__init__(f"{url}: {problem}")
        self.url = url
        self.problem = problem
        self.status = status


class SourceUnusable(AgentError):
    """A datasource that is there but whose data cannot be used."""

    code = "datasource"
