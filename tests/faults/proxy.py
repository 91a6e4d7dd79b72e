"""A TCP proxy on loopback that makes a network bad: slow, lossy, silent, or cut."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from typing import Any

CHUNK_BYTES = 65_536


class Proxy:
    """Stands between some parties and one port; what is set here holds at once, for connections that exist too.

    Args:
        port: where everything goes.
        random: decides on delays and resets.
    """

    def __init__(self, port: int, random: random.Random) -> None:
        self.latency_s = self.jitter_s = 0.0
        """each way"""
        self.reset_share = 0.0
        """of all pieces that pass: half of it goes through, then both sides are reset"""
        self.silent = False
        """take everything, pass on nothing"""
        self.resets = 0
        self.port = 0
        self._target, self._random = port, random
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._do(self._listen())

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Reset every connection."""
        self._do(self._abort_all())

    def stop(self) -> None:
        """Reset every connection and listen no more."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _abort_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, back}
        self._writers |= both
        await asyncio.gather(self._pump(reader, back, both), self._pump(there, writer, both), return_exceptions=True)
        self._writers -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, both: set[asyncio.StreamWriter]) -> None:
        last = 0.0
        try:
            while data := await reader.read(CHUNK_BYTES):
                if self.silent:
                    continue
                last = max(last, self._loop.time() + self._delay_s())
                self._loop.call_at(last, self._pass_on, data, writer, both)
        except OSError:
            pass
        self._loop.call_at(max(last, self._loop.time()), writer.close)

    def _delay_s(self) -> float:
        return max(0.0, self.latency_s + self.jitter_s * (2 * self._random.random() - 1))

    def _pass_on(self, data: bytes, writer: asyncio.StreamWriter, both: set[asyncio.StreamWriter]) -> None:
        if writer.transport.is_closing():
            return
        if self._random.random() >= self.reset_share:
            writer.write(data)
            return
        self.resets += 1
        writer.write(data[: len(data) // 2])
        for side in both:
            side.transport.abort()
