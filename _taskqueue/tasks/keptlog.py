"""The log kept with an attempt: its first lines and its last ones, since errors say what matters at the end."""

from __future__ import annotations

from collections import deque

LOG_LINES_MAX = 200
LOG_CHARS_MAX = 65_536
LINE_CHARS_MAX = 8_192


class KeptLog:
    """Half of what there is room for is the beginning, the other half the end. Callable from any thread."""

    __slots__ = ("_first", "_first_chars", "_last", "_last_chars", "_left_out", "said")

    def __init__(self) -> None:
        self.said = 0
        """how many lines came, kept or not"""
        self._first: list[str] = []
        self._first_chars = 0
        self._last: deque[str] = deque()
        self._last_chars = 0
        self._left_out = 0

    def add(self, line: str) -> None:
        """Keep a line, at the cost of one in the middle when there is no more room."""
        line = clipped(line)
        self.said += 1
        size = len(line) + 1
        if not self._last and len(self._first) < LOG_LINES_MAX // 2 and self._first_chars + size <= LOG_CHARS_MAX // 2:
            self._first.append(line)
            self._first_chars += size
            return
        self._last.append(line)
        self._last_chars += size
        while len(self._last) > LOG_LINES_MAX // 2 or self._last_chars > LOG_CHARS_MAX // 2:
            self._last_chars -= len(self._last.popleft()) + 1
            self._left_out += 1

    def text(self) -> str:
        """All that is kept, with a mark where lines are left out."""
        mark = [f"… {self._left_out} lines left out …"] if self._left_out else []
        return "\n".join([*self._first, *mark, *self._last])


def clipped(line: str) -> str:
    """The line, without its middle when it is too long."""
    if len(line) <= LINE_CHARS_MAX:
        return line
    half = LINE_CHARS_MAX // 2
    return f"{line[:half]} … {len(line) - 2 * half} characters left out … {line[-half:]}"
