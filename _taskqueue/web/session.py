"""``/session``, ``/config``, ``/audit``: who is here, what this process is set to, who did what."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from quart import Response, g, request

from _taskqueue.settings import Loaded, show_settings
from _taskqueue.web.access import Access, cookie_header
from _taskqueue.web.audit import Audit, AuditEntry
from _taskqueue.web.bodies import SessionBody
from _taskqueue.web.problems import in_time, json_response
from _taskqueue.web.routing import Scope, route


class SessionView(msgspec.Struct):
    """Who the caller is, and what the caller may do."""

    name: str
    scopes: list[str]
    open: Annotated[bool, msgspec.Meta(description="nobody needs a token here")]


class SettingView(msgspec.Struct):
    """One setting of this process."""

    name: str
    value: Any
    source: str


class ConfigPage(msgspec.Struct):
    """What this process is set to; secrets are not shown."""

    items: list[SettingView]


class AuditPage(msgspec.Struct):
    """Who did what, the latest first."""

    items: list[AuditEntry]


class AuditQuery(msgspec.Struct):
    """Query of ``GET /audit``."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class SessionApi:
    """Signing in, and what the process can say about itself."""

    def __init__(self, access: Access, audit: Audit, loaded: Loaded) -> None:
        self._access, self._audit, self._loaded = access, audit, loaded

    @route("GET", "/session", scope=Scope.NONE, answers={200: SessionView})
    async def read(self) -> Response:
        """Who the caller is, and what the caller may do."""
        return self._show()

    @route("POST", "/session", scope=Scope.NONE, body=SessionBody, answers={200: SessionView}, problems=(400, 401, 422))
    async def sign_in(self, body: SessionBody) -> Response:
        """Exchange a token for a cookie, which the browser sends by itself."""
        g.caller, value = self._access.sign_in(body.token, str(request.remote_addr))
        response = self._show()
        response.headers["Set-Cookie"] = cookie_header(value, secure=request.scheme == "https")
        return response

    @route("DELETE", "/session", scope=Scope.NONE, answers={204: None})
    async def sign_out(self) -> Response:
        """Drop the cookie."""
        response = Response(b"", 204, {})
        response.headers["Set-Cookie"] = cookie_header("", secure=request.scheme == "https", age_s=0)
        return response

    @route("GET", "/config", scope=Scope.ADMIN, answers={200: ConfigPage})
    async def config(self) -> Response:
        """The settings of this process and where each came from; secrets are hidden."""
        shown, sources = show_settings(self._loaded.settings), self._loaded.sources
        items = [SettingView(name, value, sources.get(name, "")) for name, value in shown.items()]
        return json_response(ConfigPage(items))

    @route("GET", "/audit", scope=Scope.ADMIN, query=AuditQuery, answers={200: AuditPage}, problems=(422,))
    async def audit(self, query: AuditQuery) -> Response:
        """Who did what, the latest first."""
        with in_time():
            return json_response(AuditPage(await self._audit.read(query.limit)))

    def _show(self) -> Response:
        return json_response(SessionView(g.caller.name, sorted(g.caller.scopes), self._access.open))
