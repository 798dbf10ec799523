"""The spawner's state: tables, the engine, and one file of queries for each thing that is stored.

Everything that must survive a restart is here; nothing else is. SQLite in WAL mode by default, PostgreSQL by
URL, the same code. Times are seconds since 1970, UTC, as floats; documents that nobody queries are JSON.
"""
