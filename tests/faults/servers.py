"""Real servers on loopback: one Redis or Valkey, a Sentinel group, a Cluster; killed, frozen and started again at will."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis

from _taskqueue.store.engines import bundled

START_S = 20.0
CLUSTER_S = 30.0
SLOTS = 16_384
NODE_TIMEOUT_MS = 2_000
DOWN_AFTER_MS = 1_000


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def binary_of(kind: str) -> str:
    """The program of a kind of server: ``redis`` is the system's, ``valkey`` the bundled one, which also stands in."""
    valkey = bundled()
    found = (shutil.which("redis-server") or valkey) if kind == "redis" else valkey
    if found is None:
        raise RuntimeError(f"no {kind} server on this machine")
    return found


def until(true: Callable[[], object], limit_s: float, what: str) -> None:
    """Wait for something to come true. Raises RuntimeError."""
    give_up = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > give_up:
            raise RuntimeError(f"{what}: not within {limit_s:g} s")
        time.sleep(0.02)


class Server:
    """One server process that keeps an append-only file.

    Args:
        flags: of the server's command line, after ours.
        environ: variables beside those of this process.
    """

    def __init__(self, folder: Path, *flags: str, kind: str = "redis", environ: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port, self.binary = folder, free_port(), binary_of(kind)
        self._flags, self._environ = list(flags), {**os.environ, **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *more: str, wait: bool = True) -> Server:
        """Start, or start again on the same data."""
        with (self.folder / "server.log").open("ab") as log:
            command = [self.binary, *self._command(), *more]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=self._environ)
        if wait:
            until(self.answers, START_S, f"the server on port {self.port}")
        return self

    def _command(self) -> list[str]:
        return [
            "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", "--appendonly", "yes",
            "--appendfsync", "everysec", "--enable-debug-command", "yes", *self._flags,
        ]  # fmt: skip

    def client(self, **options: Any) -> redis.Redis:
        """A client of its own."""
        return redis.Redis(host="127.0.0.1", port=self.port, **{"socket_timeout": 10, **options})

    def call(self, *words: Any, **options: Any) -> Any:
        """One command, on a connection of its own."""
        with self.client(**options) as client:
            return client.execute_command(*words)

    def answers(self) -> bool:
        """It takes commands, and has read its data."""
        with contextlib.suppress(redis.RedisError):
            return bool(self.call("PING", socket_timeout=1))
        return False

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """An orderly end."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(30)

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        assert self.process is not None, "the server was started"
        return self.process.pid

    def log_commands(self) -> int:
        """About how many commands a restart has to read."""
        return sum(path.read_bytes().count(b"\n*") for path in self.folder.glob("appendonlydir/*.aof"))


class SentinelGroup:
    """A master, two replicas and three sentinels."""

    SERVICE = "queue"

    def __init__(self, folder: Path) -> None:
        self.servers = [Server(folder / f"data{number}") for number in range(3)]
        self.sentinels = [Server(folder / f"sentinel{number}") for number in range(3)]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{nodes}/{self.SERVICE}/0"

    def start(self) -> SentinelGroup:
        """Start all; returns when the sentinels know each other and the replicas."""
        master = self.servers[0].start()
        for one in self.servers[1:]:
            one.start("--replicaof", "127.0.0.1", str(master.port))
        for sentinel in self.sentinels:
            self._start_sentinel(sentinel, master.port)
        until(self.complete, START_S, "the sentinels and replicas")
        return self

    def _start_sentinel(self, sentinel: Server, master_port: int) -> None:
        config = sentinel.folder / "sentinel.conf"
        config.write_text(
            f"port {sentinel.port}\nbind 127.0.0.1\ndir {sentinel.folder}\n"
            f"sentinel monitor {self.SERVICE} 127.0.0.1 {master_port} 2\n"
            f"sentinel down-after-milliseconds {self.SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {self.SERVICE} 5000\nsentinel parallel-syncs {self.SERVICE} 2\n"
        )
        with (sentinel.folder / "server.log").open("ab") as log:
            sentinel.process = subprocess.Popen([sentinel.binary, str(config), "--sentinel"], stdout=log, stderr=log)

    def complete(self) -> bool:
        """Every part sees every other, and both replicas are in step."""
        with contextlib.suppress(redis.RedisError, StopIteration):
            state = [_as_dict(one.call("SENTINEL", "MASTER", self.SERVICE)) for one in self.sentinels]
            full = all(int(one["num-other-sentinels"]) == 2 and int(one["num-slaves"]) == 2 for one in state)
            return full and int(self.master().client().info("replication")["connected_slaves"]) == 2
        return False

    def master(self) -> Server:
        """Who the first sentinel says it is."""
        _, port = self.sentinels[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.SERVICE)
        return next(one for one in self.servers if one.port == int(port))

    def fail_over(self) -> tuple[Server, Server]:
        """kill -9 the master, wait for the next; gives the dead one and the new one."""
        dead = self.master()
        dead.kill()
        until(lambda: self.master() is not dead and self.master().client().info("replication")["role"] == "master", START_S, "a new master")
        return dead, self.master()

    def revive(self, dead: Server) -> None:
        """Start a dead master again, as a replica of the new one; returns when it is in step."""
        dead.start("--replicaof", "127.0.0.1", str(self.master().port))
        until(self.complete, START_S * 2, "the old master as a replica")

    def stop(self) -> None:
        for one in (*self.sentinels, *self.servers):
            one.kill()


class Cluster:
    """Three masters, and one replica for the master that has a given slot."""

    def __init__(self, folder: Path, slot: int) -> None:
        flags = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        self.slot = slot
        self.nodes = [Server(folder / f"node{number}", *flags) for number in range(4)]
        self.replica = self.nodes[3]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.nodes)

    @property
    def masters(self) -> list[Server]:
        return self.nodes[:3]

    def start(self) -> Cluster:
        """Start all; returns when every node says that the cluster is whole."""
        for one in self.nodes:
            one.start()
        for number, one in enumerate(self.masters):
            one.call("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
        for one in self.nodes[1:]:
            one.call("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        until(lambda: all(self._nodes_known(one) == 4 for one in self.nodes), CLUSTER_S, "the cluster's nodes")
        self.replica.call("CLUSTER", "REPLICATE", self.id_of(self.owner()))
        until(self.whole, CLUSTER_S, "the whole cluster")
        return self

    def owner(self) -> Server:
        """The master that was given the slot."""
        return self.masters[self.slot * 3 // SLOTS]

    def id_of(self, server: Server) -> str:
        return str(server.call("CLUSTER", "MYID"), "ascii")

    def whole(self) -> bool:
        """All slots are served, and the replica is in step."""
        with contextlib.suppress(redis.RedisError):
            states = [self._info(one)["cluster_state"] for one in self.nodes]
            return set(states) == {"ok"} and self.replica.client().info("replication").get("master_link_status") == "up"
        return False

    def promoted(self) -> bool:
        """The replica has taken over."""
        with contextlib.suppress(redis.RedisError):
            return bool(self.replica.client().info("replication")["role"] == "master" and self._info(self.replica)["cluster_state"] == "ok")
        return False

    @staticmethod
    def _info(server: Server) -> dict[str, str]:
        said = server.call("CLUSTER", "INFO")
        if isinstance(said, dict):
            return {_text(name): _text(value) for name, value in said.items()}
        return dict(line.split(":", 1) for line in said.decode().split())

    def _nodes_known(self, server: Server) -> int:
        return int(self._info(server)["cluster_known_nodes"])

    def move_slot(self, source: Server, target: Server, page: int = 1) -> int:
        """Move the slot as an operator does, few keys at a time; gives how many there were."""
        source_id, target_id, moved = self.id_of(source), self.id_of(target), 0
        target.call("CLUSTER", "SETSLOT", self.slot, "IMPORTING", source_id)
        source.call("CLUSTER", "SETSLOT", self.slot, "MIGRATING", target_id)
        while keys := source.call("CLUSTER", "GETKEYSINSLOT", self.slot, page):
            source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 10_000, "KEYS", *keys)
            moved += len(keys)
            time.sleep(0.05)
        for one in (target, source, *self.masters):
            one.call("CLUSTER", "SETSLOT", self.slot, "NODE", target_id)
        return moved

    def stop(self) -> None:
        for one in self.nodes:
            one.kill()


def _text(word: object) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def _as_dict(said: Any) -> dict[str, str]:
    if isinstance(said, dict):
        return {_text(name): _text(value) for name, value in said.items()}
    words = list(map(_text, said))
    return dict(zip(words[::2], words[1::2], strict=True))
