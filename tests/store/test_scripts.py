"""The scripts' headers: contract of each, and the state machine written down the same way twice."""

from __future__ import annotations

from importlib import resources

import pytest

from _taskqueue.domain.states import TRANSITIONS
from _taskqueue.store.keys import GLOBAL_FAMILIES, GLOBAL_KEYS, QUEUE_KEYS, QueueKeys, global_key
from _taskqueue.store.scripts import load_scripts

SCRIPTS = load_scripts()


def test_the_moves_of_the_scripts_are_the_transitions() -> None:
    assert {name: script.moves for name, script in SCRIPTS.items() if script.moves} == TRANSITIONS


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_every_script_says_what_it_does_takes_and_gives(name: str) -> None:
    text = (resources.files("_taskqueue.store") / "lua" / f"{name}.lua").read_text()

    assert text.startswith("-- ")
    assert "-- keys:" in text
    assert "-- gives:" in text
    assert "KEYS[" not in text


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_every_key_of_a_script_is_in_the_schema(name: str) -> None:
    assert set(SCRIPTS[name].keys) <= {*QUEUE_KEYS, *GLOBAL_KEYS, *GLOBAL_FAMILIES, "index"}


def test_the_keys_of_a_queue_share_their_slot_and_no_other_key_exists() -> None:
    keys = QueueKeys("ns", "mails")

    assert keys.key("pending") == "ns:{mails}:pending"
    assert global_key("ns", "queues") == "{ns}:queues"
    with pytest.raises(KeyError):
        keys.key("nonsense")
    with pytest.raises(KeyError):
        global_key("ns", "nonsense")
