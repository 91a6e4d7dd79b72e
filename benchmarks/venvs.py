"""One environment a peer, made once for the pins of ``versions.toml`` and again when they change."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.catalog import OURS, VENVS, Peer

INSTALL_S = 600.0
LAST_CHARS = 300


class NotInstalled(Exception):
    """An environment could not be made; the text says why."""


def prepare(peer: Peer) -> None:
    """See that the peer can be run. Raises NotInstalled."""
    if peer.name == OURS:
        return
    if peer.kind == "node":
        _make_node(peer.home, peer.install)
    else:
        make_python(peer.home, peer.install)


def make_python(home: Path, pins: Sequence[str]) -> None:
    """A virtual environment with these pins. Raises NotInstalled."""
    if _is_made(home, pins):
        return
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)])
    _run([str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins])
    _note(home, pins)


def _make_node(home: Path, pins: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("Node.js is not installed")
    if _is_made(home, pins):
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "package.json").write_text('{"private": true}\n')
    _run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(home), *pins])
    _note(home, pins)


def _stamp(home: Path) -> Path:
    return home / "pins.json"


def _is_made(home: Path, pins: Sequence[str]) -> bool:
    return _stamp(home).exists() and json.loads(_stamp(home).read_text()) == list(pins)


def _note(home: Path, pins: Sequence[str]) -> None:
    VENVS.mkdir(exist_ok=True)
    _stamp(home).write_text(json.dumps(list(pins)))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from None
    if done.returncode:
        raise NotInstalled((done.stderr or done.stdout).strip()[-LAST_CHARS:])
