"""SQLite as SQLAlchemy's asyncio engine drives it, each statement in one turn of the connection's thread.

SQLAlchemy's own adapter of aiosqlite makes the cursor, executes, fetches and closes in turns of their own. A
turn is a way to the thread and back over the event loop, and costs more than most statements do.
See docs/decisions/0129-a-turn-a-statement.md.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_dbapi
from sqlalchemy.util.concurrency import await_


class _Cursor:
    """A cursor of PEP 249 that holds all rows of its last statement."""

    server_side = False

    def __init__(self, connection: _Connection) -> None:
        self._of = connection
        self._rows: deque[Any] = deque()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    def execute(self, operation: str, parameters: Sequence[Any] = ()) -> None:
        """Carry out one statement and fetch what it gives."""
        self._turn(lambda connection: connection.execute(operation, parameters))

    def executemany(self, operation: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Carry out one statement for each of several rows of parameters."""
        self._turn(lambda connection: connection.executemany(operation, parameters))

    def _turn(self, do: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> None:
        def turn() -> None:
            cursor = do(driver._conn)
            self.description, self.rowcount = cursor.description, cursor.rowcount
            self.lastrowid = cursor.lastrowid
            self._rows = deque(cursor.fetchall())
            cursor.close()

        driver = self._of._connection
        try:
            await_(driver._execute(turn))
        except Exception as error:  # noqa: BLE001  # the adapter says which of them mean something else
            self._of._handle_exception(error)

    def fetchone(self) -> Any:
        """The next row, or None."""
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows, at most `size`."""
        return [self._rows.popleft() for _ in range(min(size or self.arraysize, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def __iter__(self) -> Iterator[Any]:
        while self._rows:
            yield self._rows.popleft()

    def setinputsizes(self, *_sizes: Any) -> None:
        """Nothing: PEP 249 asks for the name alone."""

    def close(self) -> None:
        """Forget the rows; SQLite's own cursor was closed in its turn."""
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """Nothing is left to be closed before the rows are read."""


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    _cursor_cls = _Cursor  # type: ignore[assignment]  # what SQLAlchemy asks of a cursor is all there

    def rollback(self) -> None:
        """Roll back what was begun. The pool asks for it of every connection that comes back.

        A connection whose statement was given up may be about to begin something: SQLAlchemy closes it.
        """
        if self._connection._connection and self._connection.in_transaction:
            super().rollback()


class Driver(AsyncAdapt_aiosqlite_dbapi):
    """What `create_async_engine` takes as `module`."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)

    def connect(self, *arguments: Any, **options: Any) -> _Connection:
        """A connection as SQLAlchemy's adapter opens it."""
        return _Connection(self, super().connect(*arguments, **options)._connection)
