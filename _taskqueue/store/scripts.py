"""Loads the Lua scripts and reads their headers, which are contract and comment in one.

    -- What it does.
    -- moves: pending -> running; running -> dead, retrying
    -- keys:  leases, running
    -- args:  lease, lease_ms:number, ...
    -- rest:  what follows the named arguments
    -- uses:  drain, now
    -- gives: what it returns

From that the loader makes named locals, so that no script says ``KEYS[3]``: each key and argument is bound under its
name, ``rest`` is the number of named arguments, and the fragments named in ``uses`` (files with a leading underscore)
stand between the names and the body; a fragment's own ``keys`` join those of the script. One fragment is made here:
``sound``, a function that looks whether each of the script's keys is of the type in the schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from _taskqueue.store.keys import GLOBAL_KEYS, QUEUE_KEYS

_LOOKS = {"hash": "HLEN", "sorted": "ZCARD"}
"""Type → a command that any other type makes fail, at the cost of none."""
_FOREIGN = """local function sound()
  local looks = {%s}
  for i = 1, #looks, 2 do
    local seen = redis.pcall(looks[i], looks[i + 1])
    if type(seen) == 'table' and seen.err then
      return redis.error_reply(string.gsub(seen.err, '^-', '') .. ' (' .. looks[i + 1] .. ')')
    end
  end
end"""
_OPTIONAL = frozenset({"stats", "watched", "events", "wake"})
"""Keys that the fragments do without."""

_HEADER = re.compile(r"^-- (moves|keys|args|rest|uses|gives):[ ]*(.*)$")


@dataclass(frozen=True, slots=True)
class Script:
    """One verb: its contract and the source Redis gets."""

    name: str
    moves: frozenset[tuple[str, str]]
    keys: tuple[str, ...]
    args: tuple[str, ...]
    source: str
    sha: str


@cache
def load_scripts() -> Mapping[str, Script]:
    """Every script by its verb."""
    return build_scripts(read_texts())


def read_texts() -> dict[str, str]:
    """The Lua files by their names, fragments with their underscore."""
    folder = resources.files("_taskqueue.store") / "lua"
    return {file.name.removesuffix(".lua"): file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".lua")}


def build_scripts(texts: Mapping[str, str]) -> Mapping[str, Script]:
    """The scripts made of these files: a test may put another clock in the place of ``_now``."""
    return {name: _build(name, texts) for name in sorted(texts) if not name.startswith("_")}


def _build(name: str, texts: Mapping[str, str]) -> Script:
    header = _read_header(texts[name])
    args = tuple(arg for arg in _names(header["args"]) if arg != "...")
    uses = _names(header.get("uses", ""))
    fragments = [texts["_" + use] for use in _in_order(uses)]
    keys = tuple(dict.fromkeys(key for text in (texts[name], *fragments) for key in _names(_read_header(text).get("keys", ""))))
    look = [_sound(keys)] if "sound" in uses else []
    source = "\n".join([_bind(keys, args), *look, *fragments, texts[name]])
    return Script(
        name=name,
        moves=_read_moves(header.get("moves", "")),
        keys=keys,
        args=args,
        source=source,
        sha=hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(),
    )


def _read_header(text: str) -> dict[str, str]:
    found = (_HEADER.match(line) for line in text.splitlines())
    return {match[1]: match[2].strip() for match in found if match}


def _names(line: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in line.split(",") if name.strip())


def _in_order(uses: tuple[str, ...]) -> list[str]:
    """Fragments that others build on come first."""
    order = ("check", "drain", "now", "wake", "held", "tell", "tally", "find", "fail", "finish", "unique", "move", "forget")
    return [fragment for fragment in order if fragment in uses]


def _bind(keys: tuple[str, ...], args: tuple[str, ...]) -> str:
    lines = [f"local {name} = KEYS[{place}]" for place, name in enumerate(keys, 1)]
    for place, arg in enumerate(args, 1):
        name, _, kind = arg.partition(":")
        value = f"ARGV[{place}]"
        lines.append(f"local {name} = {f'tonumber({value})' if kind == 'number' else value}")
    lines.append(f"local rest = {len(args)}")
    return "\n".join(lines)


def _sound(keys: tuple[str, ...]) -> str:
    schema = {**GLOBAL_KEYS, **QUEUE_KEYS, "index": QUEUE_KEYS["pending"]}
    looks = [f"'{_LOOKS[schema[key].split()[0]]}', KEYS[{place}]" for place, key in enumerate(keys, 1) if key not in _OPTIONAL]
    return _FOREIGN % ", ".join(looks)


def _read_moves(line: str) -> frozenset[tuple[str, str]]:
    moves = set()
    for part in filter(None, (part.strip() for part in line.split(";"))):
        sources, targets = (_names(side) for side in part.split("->"))
        moves |= {(source, target) for source in sources for target in targets}
    return frozenset(moves)
