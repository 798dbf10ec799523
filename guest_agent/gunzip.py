"""gzip, a piece at a time and with a cap: a bomb costs its cap, not its promise."""

from __future__ import annotations

from guest_agent.errors import AgentError, LimitExceeded
from guest_agent.formats import GZIP_MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.limits import Budget

PIECE = 256 * 1024


class NotGzip(AgentError):
    """The bytes are not (all of) a gzip file."""

    code = "gzip"


def gunzip(data: bytes, place: str, budget: Budget) -> bytes:
    """All members of `data`, joined; zeros may follow the last. Raises NotGzip or LimitExceeded.

    `budget`: the bytes that all layers of the document together may unpack to.
    """
    import zlib

    out: list[bytes] = []
    rest = data
    while rest:
        if not rest.startswith(GZIP_MAGIC):
            raise NotGzip(f"{len(rest)} bytes follow the end" if out else "it does not begin as gzip does")
        member = zlib.decompressobj(wbits=31)
        try:
            while not member.eof:
                piece = member.decompress(rest, PIECE)
                budget.left -= len(piece)
                if budget.left < 0:
                    raise LimitExceeded(place, "gunzip_total_bytes", budget.total)
                out.append(piece)
                rest = member.unconsumed_tail
                if not piece and not rest and not member.eof:
                    raise NotGzip("it ends in the middle")
        except zlib.error as error:
            raise NotGzip(str(error)) from error
        rest = member.unused_data.lstrip(b"\0")
    return b"".join(out)
