"""The routes of the dashboard, below `/ui`: its files, and logging in.

The files are the package's (`hpc.web`) and are open to all; whatever they show they ask of the
other routes, by the session that is opened here. A code or a token comes in a body alone, never in
a URL, and is in no answer and no log. What every answer here carries so that a page may do no more
than it must is the edge's (`PAGE_HEADERS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from litestar import get, post, route
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from hpc.ports import Holder, HubPorts
from hpc.problems import problem
from hpc.protocols import Answer
from hpc.transport.admission import Gate, Head, Refusal
from hpc.transport.asgi import Header, head_of, headers_of, holder_of, send_answer
from hpc.transport.auth import token_of, unauthorized
from hpc.transport.authorisation import STATIC
from hpc.transport.bodies import JSON_TYPE, is_msgpack, type_refusal
from hpc.transport.problems import no_route, not_ready, too_large
from hpc.transport.queries import parsed
from hpc.transport.sessions import CODE_MS, LOGIN_BYTES_MAX
from hpc.web import INDEX, File, files

UI: Final = "/ui"

PAGE_HEADERS: Final[list[Header]] = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
"""What every answer below `/ui` carries."""

_ACCEPTED: Final = "a map with `code` or `token` alone, each a text"

_NO_STORE: Final = (b"cache-control", b"no-store")
_REVALIDATE: Final = (b"cache-control", b"no-cache")


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    code: str | None = None
    token: str | None = None


def ui_handlers(ports: HubPorts, gate: Gate) -> list[HTTPRouteHandler]:
    """Return Litestar's handlers of the dashboard's routes."""
    pages, sessions = _Pages(), _SessionRoutes(ports, gate)

    @get("/ui")
    async def index() -> ASGIApp:
        return pages.index

    @get("/ui/static/{path:path}")
    async def static() -> ASGIApp:
        return pages.static

    @post("/ui/codes")
    async def codes() -> ASGIApp:
        return sessions.new_code

    @route("/ui/session", http_method=["GET", "POST", "DELETE"], status_code=200)
    async def session() -> ASGIApp:
        return sessions.session

    return [index, static, codes, session]


class _Pages:
    """The files, as ASGI functions; a query is not looked at, as proxies add their own."""

    def __init__(self) -> None:
        self._files = files()

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page. Without a slash at its end what it names would lie beside it, not below."""
        if scope["raw_path"].endswith(b"/"):
            await _send_file(send, self._files[INDEX], headers_of(scope))
        else:
            # Relative: a proxy may have this Hub below a path of its own.
            await _send(send, 307, [(b"location", b"ui/"), (b"content-length", b"0")])

    async def static(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A file, by its whole name."""
        found = self._files.get(scope["path"].removeprefix(STATIC))
        if found is None:
            await send_answer(send, no_route(scope["path"]))
        else:
            await _send_file(send, found, headers_of(scope))


class _SessionRoutes:
    """Codes and sessions of one Hub, as ASGI functions."""

    def __init__(self, ports: HubPorts, gate: Gate) -> None:
        self._ports = ports
        self._gate = gate
        self._sessions = gate.sessions

    async def new_code(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A code by which a browser may log in once as whoever asks."""
        if isinstance(query := parsed(scope["query_string"], ()), Answer):
            await send_answer(send, query)
            return
        code = self._sessions.new_code(holder_of(scope))
        told = {"code": code, "expires_in": CODE_MS // 1000}
        await send_answer(send, Answer(201, msgspec.json.encode(told)), [_NO_STORE])

    async def session(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a session, tell whose it is, or end it."""
        head = head_of(scope)
        if isinstance(query := parsed(head.query, ()), Answer):
            await send_answer(send, query)
        elif not self._ports.is_ready:
            await send_answer(send, not_ready())
        elif head.method != "GET" and (refusal := self._gate.own_page(head)):
            await send_answer(send, *refusal)
        elif head.method == "POST":
            await self._open(head, scope["scheme"] == "https", receive, send)
        else:
            await self._tell_or_end(head, send)

    async def _open(self, head: Head, is_tls: bool, receive: Receive, send: Send) -> None:
        owner = self._owner(head, await _login(head, receive))
        if isinstance(owner, Refusal):
            await send_answer(send, *owner)
            return
        # Another value each time, never one that was there before somebody logged in. The former
        # one ends, unless it has made the code: what it has lent ends with it.
        if self._sessions.holder(head.headers) is not owner:
            self._sessions.close(head.headers)
        value, session = self._sessions.open(owner)
        # Behind a proxy with a certificate the browser alone knows that it is asked by https.
        is_secure = is_tls or head.headers.get(b"origin", b"").startswith(b"https:")
        cookie = self._cookie(value, self._sessions.left_s(session), is_secure=is_secure)
        await send_answer(send, _told(session), [cookie, _NO_STORE])

    def _owner(self, head: Head, login: _Login | Answer) -> Holder | Refusal:
        """Return in whose name a session is opened, or why none is."""
        if isinstance(login, Answer):
            return Refusal(login, [])
        if login.code is not None:
            owner = self._sessions.redeem(login.code)
        else:
            owner = self._ports.holder((login.token or "").encode("utf-8", "replace"))
        return owner or self._gate.nobody(head, login=True)

    async def _tell_or_end(self, head: Head, send: Send) -> None:
        holder = self._gate.holder(head)
        if holder is None and not self._sessions.value(head.headers) and not token_of(head.headers):
            # A browser that has not logged in yet asks so: that is no failure to be counted.
            answer, headers = unauthorized(head.peer, 0, has_token=False)
            await send_answer(send, answer, headers)
        elif holder is None:
            await send_answer(send, *self._gate.nobody(head))
        elif isinstance(holder, Refusal):
            await send_answer(send, *holder)
        elif head.method == "GET":
            await send_answer(send, _told(holder), [_NO_STORE])
        else:
            self._sessions.close(head.headers)
            await _send(send, 204, [self._cookie("", 0, is_secure=False), _NO_STORE])

    def _cookie(self, value: str, max_age_s: int, *, is_secure: bool) -> Header:
        name = self._sessions.cookie
        text = f"{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age_s}"
        return b"set-cookie", (text + ("; Secure" if is_secure else "")).encode()


def _told(holder: Holder) -> Answer:
    said = {"role": holder.role, "name": holder.token_id, "expires_at": holder.expires_at}
    return Answer(200, msgspec.json.encode(said))


async def _login(head: Head, receive: Receive) -> _Login | Answer:
    """Return what a body says; a refusal tells nothing of it."""
    if refusal := type_refusal(head.headers, JSON_TYPE):
        return refusal
    body = b""
    while True:
        message = cast("dict[str, Any]", await receive())
        body += message.get("body", b"")
        if len(body) > LOGIN_BYTES_MAX:
            return too_large("more", LOGIN_BYTES_MAX)
        if not message.get("more_body", False):
            break
    form = msgspec.msgpack if is_msgpack(head.headers) else msgspec.json
    try:
        login = form.decode(body, type=_Login)
    except (msgspec.MsgspecError, ValueError):
        return _bad_login()
    return _bad_login() if (login.code is None) == (login.token is None) else login


def _bad_login() -> Answer:
    return problem(
        400,
        "bad_request",
        "The body cannot be read",
        f"the body must be {_ACCEPTED}",
        'send {"code": CODE}; a code is made by `hpc open --print`',
    )


async def _send_file(send: Send, file: File, headers: Mapping[bytes, bytes]) -> None:
    told = [(b"etag", file.etag), _REVALIDATE]
    if file.etag in headers.get(b"if-none-match", b""):
        await _send(send, 304, told)
        return
    length = b"%d" % len(file.body)
    kind = [(b"content-type", file.kind), (b"content-length", length)]
    await _send(send, 200, [*kind, *told], file.body)


async def _send(send: Send, status: int, headers: list[Header], body: bytes = b"") -> None:
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await send(cast("Message", start))
    await send({"type": "http.response.body", "body": body, "more_body": False})
