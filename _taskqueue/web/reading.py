"""What requests hold: bodies as submissions, durations, and how long a caller wants to wait."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from quart import request

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.durations import parse_duration
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Submission
from _taskqueue.producer import Producer
from _taskqueue.terms import FIELDS_MAX, READERS, TermsError, unknown_fields, unknown_names
from _taskqueue.web.problems import Problem
from _taskqueue.web.routing import UNREADABLE

WAIT_MAX_S = 60.0
ESCAPING = 6
"""JSON may write one byte of payload as six: \\u0041."""
OTHER_FIELDS_BYTES = 65_536


def list_pattern(*words: str) -> str:
    """The pattern of up to ten of these words, divided by commas."""
    one = "|".join(words)
    return f"^(({one})(,({one})){{0,9}})?$"


DURATION_TEXT = r"([0-9]{1,6}([.][0-9]{1,3})?|[0-9]{1,3}(ms|s|m|h|d))"
TIME_TEXT = (
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-]0[0-9]:[0-5][0-9])"
)
"""Narrower than what is read, so that whatever fits is accepted."""
Duration = Annotated[
    str, msgspec.Meta(description='seconds, or "30s", "5m", "2h", "1d"', extra_json_schema={"pattern": f"^({DURATION_TEXT})?$"})
]
TimeText = Annotated[str, msgspec.Meta(description="RFC 3339 with an offset", extra_json_schema={"pattern": f"^({TIME_TEXT})?$"})]
StateText = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": list_pattern(*State, "failing")})]
"""In queries; empty counts as not given."""

_read_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_text = msgspec.json.Decoder(str).decode


def read_submission(producer: Producer, body: bytes | msgspec.Raw, *, strict: bool) -> tuple[Submission, list[str]]:
    """A submission and the names of ignored fields. Raises TermsError, Problem."""
    try:
        fields = _read_object(body)
    except msgspec.ValidationError:
        raise Problem(400, "invalid_json", 'the body must be a JSON object, such as {"payload": "hello"}') from None
    except UNREADABLE as error:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}") from None
    raw = fields.pop("payload", None)
    if raw is None:
        missing = [{"pointer": "/payload", "code": "missing_field", "detail": "is required"}]
        raise Problem(422, "invalid_field", "payload: is required; any JSON value will do", errors=missing)
    if len(fields) > FIELDS_MAX:
        raise Problem(422, "unknown_field", f"the body has {len(fields)} fields, more than {FIELDS_MAX}")
    ignored = unknown_names(fields)
    if ignored and strict:
        raise TermsError(unknown_fields(ignored))
    try:
        payload, is_text = read_payload(bytes(raw))
        plain = {name: msgspec.json.decode(value) for name, value in fields.items() if name in READERS}
    except UNREADABLE as error:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}") from None
    return producer.read(plain, payload, is_text), ignored


def read_payload(raw: bytes) -> tuple[bytes, bool]:
    """A JSON string's own characters, or the JSON of anything else as it was sent."""
    if raw.startswith(b'"'):
        return _read_text(raw).encode(), True
    raw.decode()  # what is no UTF-8 is no JSON either
    return raw, False


def body_bytes_max(producer: Producer) -> int:
    """The largest body of one submission."""
    return producer.payload_bytes_max * ESCAPING + OTHER_FIELDS_BYTES


def preference(name: str) -> str | None:
    """The value of one preference (RFC 7240), or None when it is not given."""
    for part in request.headers.get("Prefer", "").split(","):
        found, _, value = part.strip().partition("=")
        if found.strip().lower() == name:
            return value.strip().strip('"')
    return None


def read_wait(text: str) -> float | None:
    """How long the caller wants to wait, from ``?wait=`` or ``Prefer: wait=``, at most WAIT_MAX_S."""
    text = text or preference("wait") or ""
    return min(read_seconds("wait", text), WAIT_MAX_S) if text else None


def read_durability() -> Durability | None:
    """How safe a submission must be before it is answered, from ``Prefer: durability=``. Raises Problem."""
    text = preference("durability")
    if text is None:
        return None
    try:
        return Durability(text)
    except ValueError:
        raise Problem(400, "invalid_header", f"Prefer: durability must be one of {', '.join(Durability)}") from None


def applied(level: Durability) -> dict[str, str]:
    """The header that says how safe what was accepted is (RFC 7240); none for what is so anyway."""
    return {} if level is Durability.PRIMARY else {"Preference-Applied": f"durability={level}"}


def read_seconds(name: str, text: Any) -> float:
    """A duration. Raises Problem naming the field."""
    try:
        return parse_duration(text)
    except ValueError as error:
        errors = [{"pointer": f"/{name}", "code": f"invalid_{name}", "detail": str(error)}]
        raise Problem(422, "invalid_field", f"{name}: {error}", errors=errors) from None


def read_states(name: str, text: str) -> frozenset[State]:
    """States divided by commas, ``failing`` for two of them. Raises Problem."""
    parts = text.replace("failing", "retrying,dead").split(",")
    try:
        return frozenset(State(part) for part in parts if part)
    except ValueError:
        raise Problem(422, "invalid_field", f"{name}: must be of {', '.join(State)}") from None
