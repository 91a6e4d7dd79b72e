"""Who may do what: where the API listens × which tokens there are × which route; and what is said to those who may not."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from _taskqueue.settings import TOKEN_SCOPES
from _taskqueue.web.access import COOKIE, LOGINS_MAX, PROBES, PROXY_HEADERS
from _taskqueue.web.routing import Route, Scope
from tests.web.conftest import Api, Opening

pytestmark = pytest.mark.anyio

SECRETS = {scope: f"{scope}-0123456789abcdef" for scope in TOKEN_SCOPES}
TOKENS = ",".join(f"{scope}:{scope}:{secret}" for scope, secret in SECRETS.items())
IMPLIED = {
    "read": {"read"}, "submit": {"submit"}, "operate": {"read", "submit", "operate"}, "admin": {"read", "submit", "operate", "admin"},
}  # fmt: skip
CONTRACT = {
    ("POST", "/tasks"), ("POST", "/tasks/batch"), ("GET", "/tasks/<task_id>"), ("GET", "/tasks/<task_id>/result"),
    ("GET", "/batches/<batch_id>"),
}  # fmt: skip
NEEDS: dict[str, set[tuple[str, str]]] = {
    "none": {
        ("GET", path) for path in ("/livez", "/readyz", "/healthz", "/version", "/openapi.json", "/docs", "/docs/<name>", "/session", "/")
    } | {("GET", "/ui/"), ("GET", "/ui/<path:path>"), ("POST", "/session"), ("DELETE", "/session")},
    "submit": {("POST", "/tasks"), ("POST", "/tasks/batch"), ("POST", "/tasks/<task_id>/rerun")},
    "read": {
        ("GET", path)
        for path in (
            "/tasks", "/tasks/<task_id>", "/tasks/<task_id>/result", "/tasks/<task_id>/attempts", "/tasks/<task_id>/logs",
            "/tasks/<task_id>/explain", "/stats", "/failures", "/failures/<fingerprint>", "/batches/<batch_id>", "/queues",
            "/queues/<queue>", "/autoscale", "/workers", "/handlers", "/operations", "/operations/<operation_id>", "/events",
        )
    },
    "operate": {
        ("POST", "/tasks/<task_id>/retry"), ("POST", "/tasks/<task_id>/run"), ("POST", "/tasks/<task_id>/cancel"),
        ("PATCH", "/tasks/<task_id>"), ("POST", "/queues/<queue>/pause"), ("POST", "/queues/<queue>/resume"), ("POST", "/operations"),
        ("POST", "/operations/<operation_id>/stop"),
    },
    "admin": {
        ("DELETE", "/tasks/<task_id>"), ("PATCH", "/queues/<queue>"), ("DELETE", "/queues/<queue>/tasks"),
        ("POST", "/workers/<worker>/quiet"), ("POST", "/workers/<worker>/resume"), ("POST", "/workers/<worker>/stop"), ("GET", "/config"),
        ("GET", "/audit"),
    },
}  # fmt: skip
"""Scope → the routes that need it. Every route stands here once: a new one fails the test below until it is entered."""
SAMPLES = {"<task_id>": "task" + "0" * 26, "<name>": "docs.css", "<path:path>": "app.css"}


def routes_of(api: Api) -> dict[tuple[str, str], Route]:
    """Everything that is served."""
    return {(one.method, one.path): one for one in api.site.mounted.routes}


def path_of(route: Route) -> str:
    """A path of this route that leads to nothing real."""
    parts = [SAMPLES.get(part, "x") if part.startswith("<") else part for part in route.path.split("/")]
    return "/".join(parts)


async def status_of(api: Api, route: Route, secret: str = "", prefix: str = "", **headers: str) -> tuple[int, str]:
    """Status and code of a call; of an endless answer only its beginning."""
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    path = prefix + path_of(route)
    if route.path == "/events":
        path += "?topics=none-such"  # refused for its topics, once access is granted
    response = await api.http.open(path, method=route.method, headers=headers, data=b"")
    data = await response.get_json() if response.mimetype == "application/problem+json" else {}
    return response.status_code, data.get("code", "")


async def test_every_route_needs_the_scope_that_the_table_says(api: Api) -> None:
    found = {key: route.scope.value for key, route in routes_of(api).items()}

    assert found == {key: scope for scope, keys in NEEDS.items() for key in keys}
    assert {key for key, route in routes_of(api).items() if route.contract} == CONTRACT


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("scope", ["", *TOKEN_SCOPES])
async def test_every_route_admits_the_scopes_it_needs_and_no_others(opening: Opening, scope: str, prefix: str) -> None:
    async with opening(tokens=TOKENS) as api:
        for key, route in routes_of(api).items():
            status, code = await status_of(api, route, SECRETS.get(scope, ""), prefix)

            has = IMPLIED.get(scope, set())
            admitted = route.scope is Scope.NONE or route.scope.value in has or (key in CONTRACT and "submit" in has)
            refused = (403, "forbidden") if scope else (401, "unauthorized")
            assert ((status, code) != refused) is admitted, (key, scope, status, code)


# -- where it listens, and which tokens there are ------------------------------------------------------------------------


async def test_on_loopback_without_tokens_everything_is_open(opening: Opening) -> None:
    async with opening() as api:
        for key, route in routes_of(api).items():
            assert (await status_of(api, route))[0] not in (401, 403), key
        assert await api.get("/session") == {"name": "anybody", "scopes": ["admin", "operate", "read", "submit"], "open": True}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0"])  # noqa: S104 - not listened on
async def test_with_tokens_every_call_needs_one_wherever_it_listens(opening: Opening, host: str) -> None:
    async with opening(tokens=TOKENS, host=host) as api:
        for key, route in routes_of(api).items():
            admitted = (await status_of(api, route))[0] != 401
            assert admitted is (route.scope is Scope.NONE), key


async def test_on_a_shared_store_without_tokens_only_the_contract_works_from_outside(opening: Opening) -> None:
    async with opening(host="0.0.0.0") as api:  # noqa: S104 - not listened on
        for key, route in routes_of(api).items():
            admitted = (await status_of(api, route))[0] != 401
            assert admitted is (route.scope is Scope.NONE or key in CONTRACT), key


async def test_on_an_own_store_the_token_made_at_the_first_start_opens_the_rest(
    opening: Opening, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    terms = {"role": "all", "redis_url": None, "host": "0.0.0.0", "data_dir": str(tmp_path)}  # noqa: S104 - not listened on
    with caplog.at_level("INFO", "taskqueue.access"):
        async with opening(**terms) as api:
            token = (tmp_path / "token").read_text().strip()
            for key, route in routes_of(api).items():
                assert ((await status_of(api, route))[0] == 401) is (route.scope is not Scope.NONE and key not in CONTRACT), key
                assert (await status_of(api, route, token))[0] not in (401, 403), key
    async with opening(**terms):
        assert (tmp_path / "token").read_text().strip() == token

    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert f"#token={token}" in caplog.text


# -- credentials --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", "me", "me:not"])
async def test_a_token_can_be_the_password_of_basic(opening: Opening, user: str) -> None:
    async with opening(tokens=TOKENS) as api:
        given = base64.b64encode(f"{user.partition(':')[0]}:{SECRETS['admin']}".encode()).decode()

        assert (await api.call("GET", "/config", Authorization=f"Basic {given}"))[0] == 200


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer "])
async def test_the_kind_of_credentials_may_be_written_in_any_way(opening: Opening, kind: str) -> None:
    async with opening(tokens=TOKENS) as api:
        assert (await api.call("GET", "/config", Authorization=f"{kind} {SECRETS['admin']}"))[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer ",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff").decode(),
        "Basic YQ==",
        "Bearer \u00e9",
        "Token x",
    ],
)
async def test_wrong_credentials_are_401_and_say_how_to_do_it(opening: Opening, header: str) -> None:
    async with opening(tokens=TOKENS) as api:
        response = await api.http.get("/queues", headers={"Authorization": header})

        assert (response.status_code, (await response.get_json())["code"]) == (401, "unauthorized")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_wrong_tokens_are_limited_and_right_ones_are_not(opening: Opening) -> None:
    async with opening(tokens=TOKENS) as api:
        wrong = [await api.call("GET", "/queues", Authorization=f"Bearer wrong-{number}") for number in range(LOGINS_MAX + 1)]
        limited = await api.http.get("/queues", headers={"Authorization": "Bearer wrong"})

        assert [status for status, _ in wrong] == [401] * LOGINS_MAX + [429]
        assert wrong[-1][1]["code"] == "rate_limited"
        assert int(limited.headers["Retry-After"]) >= 1
        assert (await api.call("GET", "/queues", Authorization=f"Bearer {SECRETS['read']}"))[0] == 200
        assert (await api.call("GET", "/queues"))[0] == 401


async def test_signing_in_is_limited_like_any_use_of_a_token(opening: Opening) -> None:
    async with opening(tokens=TOKENS) as api:
        statuses = [(await api.call("POST", "/session", {"token": f"wrong {number}"}))[0] for number in range(LOGINS_MAX + 1)]

        assert statuses == [401] * LOGINS_MAX + [429]


# -- the cookie ---------------------------------------------------------------------------------------------------------


async def sign_in(api: Api, secret: str) -> str:
    """Exchange a token for a cookie; gives its value."""
    response = await api.post("/session", {"token": secret})
    assert response.status_code == 200, await response.get_data()
    header = response.headers["Set-Cookie"]
    assert all(part in header for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="))
    api.http.cookie_jar.clear()
    return str(header.split(";")[0].partition("=")[2].strip('"'))


async def test_a_cookie_stands_for_its_token(opening: Opening) -> None:
    async with opening(tokens=TOKENS) as api:
        value = await sign_in(api, SECRETS["read"])

        assert (await api.call("GET", "/session", Cookie=f"{COOKIE}={value}"))[1] == {"name": "read", "scopes": ["read"], "open": False}
        assert (await api.call("GET", "/queues", Cookie=f"{COOKIE}={value}"))[0] == 200
        assert (await api.call("GET", "/config", Cookie=f"{COOKIE}={value}"))[0] == 403
        assert SECRETS["read"] not in value


async def test_a_cookie_is_read_by_every_replica(opening: Opening) -> None:
    async with opening(tokens=TOKENS) as first:
        value = await sign_in(first, SECRETS["read"])
    async with opening(tokens=TOKENS) as second:
        assert (await second.call("GET", "/queues", Cookie=f"{COOKIE}={value}"))[0] == 200


@pytest.mark.parametrize("tokens", ["other:read:0123456789abcdef", "read:read:another-0123456789abcdef"])
async def test_a_cookie_ends_with_its_token(opening: Opening, tokens: str) -> None:
    async with opening(tokens=TOKENS) as api:
        value = await sign_in(api, SECRETS["read"])
    async with opening(tokens=tokens) as api:
        assert (await api.call("GET", "/queues", Cookie=f"{COOKIE}={value}"))[0] == 401


async def test_a_cookie_that_was_changed_is_nobodys(opening: Opening) -> None:
    async with opening(tokens=TOKENS) as api:
        name, ends, seal = (await sign_in(api, SECRETS["read"])).split("|")

        for value in (
            f"admin|{ends}|{seal}",
            f"{name}|{int(ends) + 1}|{seal}",
            f"{name}|{ends}|{seal[:-1]}",
            "||",
            "x",
            f"{name}|{ends}|\u00e9",
        ):
            assert (await api.call("GET", "/queues", Cookie=f"{COOKIE}={value}"))[0] == 401, value


async def test_signing_out_drops_the_cookie(api: Api) -> None:
    response = await api.http.delete("/session")

    assert response.status_code == 204
    assert "Max-Age=0" in response.headers["Set-Cookie"]


async def test_a_wrong_token_gets_no_cookie(opening: Opening) -> None:
    async with opening(tokens=TOKENS) as api:
        response = await api.post("/session", {"token": "wrong"})

        assert response.status_code == 401
        assert "Set-Cookie" not in response.headers


# -- names and rates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:8080", 200), ("127.0.0.1:8080", 200), ("[::1]:8080", 200), ("10.1.2.3", 200), ("evil.example", 421),
        ("evil.example:8080", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421), ("LOCALHOST", 200),
    ],
)  # fmt: skip
async def test_on_loopback_only_its_own_names_are_served(api: Api, host: str, status: int) -> None:
    found, answer = await api.call("GET", "/queues", Host=host)

    assert found == status
    assert status == 200 or answer["code"] == "wrong_host"


@pytest.mark.parametrize("host", ["", "node-7.internal", "node-7.internal:8080", "evil.example"])
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/livez"])
async def test_probes_are_answered_under_any_name(api: Api, host: str, path: str) -> None:
    assert (await api.call("GET", path, Host=host))[0] == 200


async def test_nothing_but_probes_is_answered_under_any_name(api: Api) -> None:
    for key, route in routes_of(api).items():
        if route.path not in PROBES:
            assert await status_of(api, route, Host="node-7.internal") == (421, "wrong_host"), key


@pytest.mark.parametrize("header", PROXY_HEADERS)
async def test_what_comes_through_a_proxy_is_no_local_caller(api: Api, header: str, caplog: pytest.LogCaptureFixture) -> None:
    for key, route in routes_of(api).items():
        refused = await status_of(api, route, **{header: "203.0.113.9"}) == (403, "forbidden")
        assert refused is (route.scope is not Scope.NONE and key not in CONTRACT), key

    status, answer = await api.call("GET", "/queues", None, **{header: "203.0.113.9"})
    assert (status, "--tokens" in answer["detail"]) == (403, True)
    assert await api.get("/session", **{header: "203.0.113.9"}) == {"name": "proxied", "scopes": [], "open": True}
    assert len([line for line in caplog.messages if "come through a proxy" in line]) == 1


async def test_with_tokens_a_proxy_changes_nothing(opening: Opening) -> None:
    async with opening(tokens=TOKENS) as api:
        headers = {"Authorization": f"Bearer {SECRETS['admin']}", "X-Forwarded-For": "203.0.113.9"}
        assert (await api.call("GET", "/config", **headers))[0] == 200


async def test_names_that_are_allowed_are_served(opening: Opening) -> None:
    async with opening(allowed_hosts="tasks.example, Other.example") as api:
        statuses = [
            (await api.call("GET", "/version", Host=host))[0] for host in ("tasks.example:80", "other.example", "localhost", "evil.example")
        ]

        assert statuses == [200, 200, 200, 421]


async def test_a_rate_limit_counts_each_caller_and_says_when_to_come_back(opening: Opening) -> None:
    async with opening(tokens=TOKENS, rate_limit="3") as api:
        mine = [await api.http.get("/queues", headers={"Authorization": f"Bearer {SECRETS['read']}"}) for _ in range(4)]

        assert [response.status_code for response in mine] == [200, 200, 200, 429]
        assert (await mine[3].get_json())["code"] == "rate_limited"
        assert int(mine[3].headers["Retry-After"]) >= 1
        assert (await api.call("GET", "/queues", Authorization=f"Bearer {SECRETS['admin']}"))[0] == 200


async def test_probes_are_answered_whatever_the_rate(opening: Opening) -> None:
    async with opening(rate_limit="1") as api:
        assert [(await api.call("GET", "/livez"))[0] for _ in range(5)] == [200] * 5
