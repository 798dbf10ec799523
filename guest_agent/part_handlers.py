"""Custom part handlers (`#part-handler`): Python code of the user, run as root in a process of its own.

The code lives in one child for the whole document, so that it may keep state between `__begin__`, its
parts and `__end__`. It cannot reach the agent's memory or files; a handler that raises, loops, exits or
prints costs its own parts alone (GA-P11). The child is `part_handler_child.py`.
"""

from __future__ import annotations

import os
import select
import time

from boot_stages.log import logger
from boot_stages.plain_json import read_json, write_json
from guest_agent.errors import PartRefused
from guest_agent.limits import DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.machine import Machine
    from guest_agent.parts import Part
    from guest_agent.user_data import Call

LOG = logger("part_handler")

PER_INSTANCE = "once-per-instance"
ANSWER_BYTES = 1024 * 1024


def handlers_for(
    machine: Machine,
    instance_directory: str,
    config: Mapping[str, object],
    *,
    is_first_run: bool,
    limits: Limits = DEFAULT,
) -> Handlers | None:
    """Handlers for one document; None where user code must not run: `allow_part_handlers: false` in the
    configuration, or a tree that is only looked at."""
    allowed = str(config.get("allow_part_handlers", True)).strip().lower() not in ("false", "no", "off", "0")
    if machine.is_recorded or not allowed:
        return None
    return Handlers(machine, instance_directory, is_first_run=is_first_run, limits=limits)


class Handlers:
    """The handlers of one document: loaded as their parts come, called, ended."""

    def __init__(
        self,
        machine: Machine,
        instance_directory: str,
        *,
        is_first_run: bool,
        limits: Limits = DEFAULT,
    ) -> None:
        self._machine = machine
        self._directory = instance_directory
        self._is_first_run = is_first_run
        self._limits = limits
        self._running: list[_Handler] = []
        self._by_type: dict[str, _Handler] = {}

    def load(self, part: Part) -> tuple[str, ...]:
        """Keep the part's code, start it, and give the types it takes. Raises PartRefused."""
        number = len(self._running)
        path = f"{self._directory}/handlers/part-handler-{number:03d}.py"
        self._machine.write(path, part.payload, 0o600)
        handler = _Handler(self._machine.path(path), self._limits.part_handler_s)
        self._running.append(handler)
        answer = handler.ask({"do": "load"}, part.place)
        handler.frequency = str(answer.get("frequency") or PER_INSTANCE)
        listed = answer.get("types")
        types = tuple(str(kind) for kind in listed) if isinstance(listed, list) else ()
        self._by_type.update((kind, handler) for kind in types)
        self._signal(handler, "__begin__")
        return types

    def call(self, step: Call) -> None:
        """Hand a part to its handler. A failure is a warning (spec 2.2)."""
        handler = self._by_type.get(step.type)
        if handler is not None and self._is_due(handler):
            self._told(handler, step.type, step.filename, step.payload, dict(step.headers))

    def end(self) -> None:
        """Tell every handler that the document is over, and end its process."""
        for handler in self._running:
            self._signal(handler, "__end__")
            handler.close()

    def _signal(self, handler: _Handler, word: str) -> None:
        if handler.is_alive and self._is_due(handler):
            self._told(handler, word, "", b"", {})

    def _is_due(self, handler: _Handler) -> bool:
        """Handlers are per instance unless they say `always`."""
        return self._is_first_run or handler.frequency != PER_INSTANCE

    def _told(
        self, handler: _Handler, kind: str, filename: str, payload: bytes, headers: dict[str, str]
    ) -> None:
        import base64

        try:
            handler.ask(
                {
                    "do": "handle",
                    "type": kind,
                    "filename": filename,
                    "payload": base64.b64encode(payload).decode("ascii"),
                    "frequency": handler.frequency,
                    "headers": headers,
                },
                filename or kind,
            )
        except PartRefused as error:
            LOG.warning("Failed calling handler for %s: %s", kind, error.text)


class _Handler:
    """One child process: a line of JSON in, a line of JSON out."""

    def __init__(self, path: str, limit_s: int) -> None:
        self.frequency = PER_INSTANCE
        self.is_alive = True
        self._path = path
        self._limit_s = limit_s
        self._buffer = b""
        questions, self._to = os.pipe()
        self._from, answers = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            _become_handler(path, questions, answers)
        os.close(questions)
        os.close(answers)

    def ask(self, question: dict[str, object], place: str) -> dict[str, object]:
        """The child's answer. Raises PartRefused; a child that is late or gone is ended for good."""
        if not self.is_alive:
            raise PartRefused(f"{place}: its part handler has ended")
        deadline = time.monotonic() + self._limit_s
        try:
            self._send(write_json(question).encode("ascii") + b"\n", deadline)
            answer = read_json(self._line(deadline))
        except (OSError, ValueError, TimeoutError) as error:
            self.close(kill=True)
            raise PartRefused(f"{place}: the part handler {error}") from error
        if not isinstance(answer, dict) or "error" in answer:
            problem = answer.get("error") if isinstance(answer, dict) else "gave no answer"
            raise PartRefused(f"{place}: the part handler failed: {problem}")
        return answer

    def _send(self, data: bytes, deadline: float) -> None:
        os.set_blocking(self._to, False)
        while data:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([], [self._to], [], left_s)[1]:
                raise TimeoutError(f"did not listen for {self._limit_s} s (part_handler_s)")
            try:
                data = data[os.write(self._to, data) :]
            except BrokenPipeError as error:
                raise ValueError("has ended") from error

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._from], [], [], left_s)[0]:
                raise TimeoutError(f"did not answer for {self._limit_s} s (part_handler_s)")
            piece = os.read(self._from, 65536)
            if not piece:
                raise ValueError("ended without an answer")
            self._buffer += piece
            if len(self._buffer) > ANSWER_BYTES:
                raise ValueError("answered more than a mebibyte")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def close(self, *, kill: bool = False) -> None:
        """End the child: at the end of its input, or at once with all that it started."""
        import signal

        if not self.is_alive:
            return
        self.is_alive = False
        os.close(self._to)
        ends = time.monotonic() + (0 if kill else 5.0)
        while time.monotonic() < ends and not _has_ended(self._child):
            time.sleep(0.005)
        try:
            os.killpg(self._child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self._child, 0)
        os.close(self._from)


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _become_handler(path: str, questions: int, answers: int) -> None:
    """In the child: a new Python that knows nothing of the agent's memory. Never returns."""
    import sys

    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)  # what the handler prints is no answer of ours
        os.set_inheritable(questions, True)
        os.set_inheritable(answers, True)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "part_handler_child.py")
        # -I: neither our folder nor the caller's environment decides what the handler imports
        os.execv(sys.executable, [sys.executable, "-I", program, path, str(questions), str(answers)])
    finally:
        os._exit(127)
