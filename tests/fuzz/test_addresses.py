"""Whatever stands in a store URL, it is an address or one line, and no password is shown."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.address import SCHEMES, hide_password, read_address

SOME = settings(max_examples=150, deadline=None)
SECRET = "S3cretS3cretS3cretS3cret"  # noqa: S105 - must not be seen

any_text = st.text(max_size=60)
schemes = st.sampled_from(SCHEMES)
url_text = st.text("ab19:/?#[]@&=%,. \n\u00e9", max_size=30)


@SOME
@given(schemes, st.one_of(any_text, url_text))
@example("redis", "[")
@example("redis", "h:99999999")
@example("redis+sentinel", "%/%")
@example("redis", "h?socket_timeout=" + "9" * 5_000)
def test_a_store_url_is_an_address_or_one_line(scheme: str, rest: str) -> None:
    try:
        found = read_address(f"{scheme}://{rest}")
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert found.scheme == scheme
        assert all(name and 1 <= port <= 65_535 for name, port in found.nodes)


@SOME
@given(schemes, url_text)
def test_no_part_of_a_password_is_shown_or_taken_for_a_host(scheme: str, odd: str) -> None:
    assume("\n" not in odd)
    url = f"{scheme}://me:{SECRET}{odd}{SECRET}@host/1"
    try:
        found = read_address(url)
    except UsageError as error:
        assert SECRET not in str(error)
    else:
        assert SECRET not in str(found.nodes)
        assert str(found.login["password"]).count(SECRET) == 2
    assert SECRET not in hide_password(url)


@SOME
@given(st.sampled_from([one for one in SCHEMES if one != "memory"]), st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_any_password_can_be_encoded(scheme: str, password: str) -> None:
    place = {"redis+sentinel": "host/queue", "unix": "/run/redis"}.get(scheme, "host")

    assert read_address(f"{scheme}://:{quote(password, safe='')}@{place}").login["password"] == password
