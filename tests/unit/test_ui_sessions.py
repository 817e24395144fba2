"""The dashboard's routes, as a browser asks them and as whoever wants to be taken for it."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scripted_hub import DEADLINE_S, TOKEN, ScriptedHub, Served, serving

from hpc.config import HubConfig
from hpc.hub.certificate import identity
from hpc.ports import Holder
from hpc.tokens import ROLES
from hpc.transport.auth import FAILURES_MAX
from hpc.transport.authorisation import ROUTES
from hpc.transport.routes_ui import PAGE_HEADERS
from hpc.transport.sessions import CODE_MS, HELD_MAX, LOGIN_BYTES_MAX, SESSION_MS, Sessions
from hpc.web import STATIC, files

ACTION = {"Hpc-Action": "1"}
NAME = "hpc-scripted"
"""Of the cookie: the first eight of the Hub's id."""


@pytest.fixture
def hub() -> ScriptedHub:
    return ScriptedHub()


@pytest.fixture
def served(hub: ScriptedHub) -> Iterator[Served]:
    with serving(hub) as served:
        yield served


def log_in(served: Served, document: dict[str, Any], **headers: str) -> tuple[int, str, Any]:
    """Log in; status, the whole `Set-Cookie` and the body."""
    body = json.dumps(document).encode()
    status, told, answer = served.request("POST", "/ui/session", body, ACTION | headers, None)
    return status, told.get("set-cookie", ""), json.loads(answer)


def session(served: Served, token: str = TOKEN) -> dict[str, str]:
    """The header of a browser that has logged in by a token."""
    status, cookie, _ = log_in(served, {"token": token})
    assert status == 200
    return {"Cookie": cookie.partition(";")[0]}


def code(served: Served, token: str = TOKEN) -> str:
    """A new code."""
    status, headers, body = served.request("POST", "/ui/codes", b"", token=token)
    assert (status, headers["cache-control"]) == (201, "no-store")
    told = json.loads(body)
    assert told["expires_in"] == 300
    return str(told["code"])


def get(served: Served, path: str, headers: dict[str, str]) -> int:
    return served.request("GET", path, None, headers, None)[0]


# Files


def test_the_files_are_open_and_may_do_no_more_than_they_must(served: Served) -> None:
    """Also a refusal carries what keeps a page within bounds."""
    index = (STATIC / "index.html").read_bytes()
    asked = {
        path: served.request("GET", path, token=None)
        for path in ("/ui/", "/ui/?token=of-a-proxy", "/ui/static/index.html", "/ui/static/none.js")
    }
    asked["a code"] = served.request("POST", "/ui/codes", b"", token=None)
    for status, headers, body in list(asked.values())[:3]:
        assert (status, body) == (200, index)
        assert headers["content-type"] == "text/html; charset=utf-8"
    assert [status for status, _, _ in asked.values()] == [200, 200, 200, 404, 401]
    for _, headers, _ in asked.values():
        for name, value in PAGE_HEADERS:
            assert headers[name.decode()] == value.decode()


def test_a_slash_at_the_end_is_added_by_a_name_that_a_proxy_can_have_anywhere(
    served: Served,
) -> None:
    """Behind `/proxy/8080/` nobody here knows that path."""
    status, headers, _ = served.request("GET", "/ui", token=None)
    assert (status, headers["location"]) == (307, "ui/")


def test_a_file_that_a_browser_has_is_not_sent_again(served: Served) -> None:
    """It asks each time, so that a page is never of two versions."""
    _, headers, _ = served.request("GET", "/ui/", token=None)
    assert headers["cache-control"] == "no-cache"
    known = {"If-None-Match": headers["etag"]}
    assert served.request("GET", "/ui/", None, known, None)[0::2] == (304, b"")
    other = {"If-None-Match": '"other"'}
    assert served.request("GET", "/ui/", None, other, None)[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "../__init__.py",
        "%2e%2e/__init__.py",
        "..%2f__init__.py",
        "..%5c__init__.py",
        "vendor/../index.html",
        "./index.html",
        "//etc/passwd",
        "%2fetc/passwd",
        "index.html%00.js",
        "INDEX.HTML",
        "vendor",
        "",
    ],
)
def test_no_name_leads_out_of_the_folder(served: Served, name: str) -> None:
    """What is served is looked up among what lay there: a name is no path."""
    assert served.request("GET", f"/ui/static/{name}", token=None)[0] == 404


def test_every_file_is_of_a_kind_that_is_served() -> None:
    """One of another kind would be missing in a browser alone; a list of digests is for us."""
    there = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert files().keys() == {name for name in there if Path(name).name != "SHA256SUMS"}


# Logging in


def test_a_code_logs_in_once_as_whoever_made_it(hub: ScriptedHub, served: Served) -> None:
    """Whoever reads it later, in a terminal or a log, has nothing."""
    hub.holders[b"reads"] = Holder("r1", "read")
    made = code(served, "reads")
    assert len(made) * 6 >= 128, "bits that would have to be guessed"

    status, cookie, told = log_in(served, {"code": made})
    assert status == 200
    assert told == {"role": "read", "name": "r1", "expires_at": told["expires_at"]}
    value, *attributes = cookie.split("; ")
    assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/", attributes[3]]
    assert SESSION_MS // 1000 - 60 < int(attributes[3].removeprefix("Max-Age=")) < SESSION_MS
    headers = {"Cookie": f"other=1; {value}; more=2"}
    answer = served.request("GET", "/ui/session", None, headers, None)
    assert (answer[0], json.loads(answer[2])) == (200, told)
    assert get(served, "/jobs", headers) == 200

    status, cookie, refused = log_in(served, {"code": made})
    assert (status, cookie, refused["code"]) == (401, "", "unauthorized")
    assert made not in json.dumps(refused)


@pytest.mark.parametrize("role", ROLES)
def test_a_session_opens_what_its_token_opens_and_no_more(
    hub: ScriptedHub, served: Served, role: str
) -> None:
    """Route by route, also where a body goes past ASGI."""
    hub.holders[role.encode()] = Holder(f"id-of-{role}", role)
    cookie = session(served, role)
    for path in ROUTES.keys() - {"/pokes", "/ui/session"}:
        method = ROUTES[path].methods[0]
        body = b"{}" if method == "POST" else None
        kind = {"Content-Type": "application/octet-stream"} if path == "/outputs" else {}
        target = path.replace("{job_id}", "1").replace("{path}", "index.html")
        by_token = served.request(method, target, body, kind, role)
        by_cookie = served.request(method, target, body, kind | cookie | ACTION, None)
        assert by_cookie[0] == by_token[0], path
    assert set(hub.senders) <= {f"id-of-{role} {role} 127.0.0.1"}, "as whom the log names it"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Hpc-Action": "true"},
        ACTION | {"Origin": "http://127.0.0.1:1"},
        ACTION | {"Origin": "null"},
        ACTION | {"Origin": "http://[::1"},
        ACTION | {"Origin": "http://evil.example"},
        ACTION | {"Sec-Fetch-Site": "same-site"},
        ACTION | {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_what_another_page_can_make_a_browser_send_changes_nothing(
    hub: ScriptedHub, served: Served, headers: dict[str, str]
) -> None:
    """A form, a script of another origin, a page at another port of this very host."""
    sent = session(served) | headers
    asked = [("POST", "/ingest"), ("POST", "/control"), ("POST", "/ui/codes")]
    for method, path in [*asked, ("POST", "/ui/session"), ("DELETE", "/ui/session")]:
        body = b"{}" if method == "POST" else None
        status, told, answer = served.request(method, path, body, sent, None)
        assert (status, json.loads(answer)["code"]) == (403, "cross_site"), path
        assert "set-cookie" not in told
        assert "access-control-allow-origin" not in told
    assert hub.asked == []
    assert get(served, "/jobs", session(served)) == 200


def test_the_dashboards_own_page_may_act(served: Served) -> None:
    """By what a browser says of it."""
    own = {"Origin": served.url, "Sec-Fetch-Site": "same-origin", **ACTION}
    sent = session(served) | own
    assert served.request("POST", "/ingest", b"{}", sent, None)[0] == 200
    assert get(served, "/jobs", session(served) | {"Sec-Fetch-Site": "none"}) == 200, "by hand"


def test_another_page_reads_nothing_either(served: Served) -> None:
    """An image or a script tag at another port of this host sends the cookie, too."""
    for path in ("/jobs", "/jobs/1/log", "/pull?gid=kernel", "/ui/session"):
        assert get(served, path, session(served) | {"Sec-Fetch-Site": "same-site"}) == 403


def test_a_cookie_that_comes_twice_is_none(served: Served) -> None:
    """A page at another port can add one, and must not choose whose session it is."""
    mine, other = session(served), session(served)
    both = {"Cookie": f"{mine['Cookie']}; {other['Cookie']}"}
    assert get(served, "/jobs", both) == 401


def test_a_token_counts_before_a_cookie_and_is_not_remembered_for_it(
    hub: ScriptedHub, served: Served
) -> None:
    """On one connection: who the last request was of says nothing of the next."""
    cookie = session(served)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)

    def status(headers: dict[str, str]) -> int:
        connection.request("GET", "/pull?gid=kernel", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    token, wrong = ({"Authorization": f"Bearer {text}"} for text in (TOKEN, "wrong"))
    basic = {"Authorization": "Basic of-a-proxy"}
    asked = [token, {}, cookie, {}, cookie | wrong, cookie | token, cookie | basic, basic]
    assert [status(one) for one in asked] == [200, 401, 200, 401, 401, 200, 200, 401]
    connection.close()


def test_who_logs_in_gets_another_session_each_time(served: Served) -> None:
    """One that was there before is ended: nobody can have had it ready."""
    before = session(served)
    status, cookie, _ = log_in(served, {"token": TOKEN}, **before)
    after = {"Cookie": cookie.partition(";")[0]}
    assert status == 200
    assert after != before
    assert [get(served, "/jobs", one) for one in (before, after)] == [401, 200]


def test_a_code_that_the_session_itself_has_made_logs_in(served: Served) -> None:
    """In the same browser: the cookie that it gets is good."""
    before = session(served)
    made = served.request("POST", "/ui/codes", b"", before | ACTION, None)
    status, cookie, _ = log_in(served, {"code": json.loads(made[2])["code"]}, **before)
    assert status == 200
    assert get(served, "/jobs", {"Cookie": cookie.partition(";")[0]}) == 200


def test_who_logs_out_is_out_and_so_is_what_was_open(served: Served) -> None:
    """A stream is cut, and a code that the session made opens nothing more."""
    cookie = session(served)
    made = served.request("POST", "/ui/codes", b"", cookie | ACTION, None)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)
    connection.request("GET", "/pokes", headers=cookie)
    stream = connection.getresponse()
    assert stream.status == 200

    status, headers, _ = served.request("DELETE", "/ui/session", None, cookie | ACTION, None)
    assert status == 204
    assert headers["set-cookie"].startswith(f"{NAME}=; ")
    assert "Max-Age=0" in headers["set-cookie"]
    with pytest.raises(http.client.IncompleteRead):
        stream.read()
    connection.close()
    assert get(served, "/jobs", cookie) == 401
    assert log_in(served, {"code": json.loads(made[2])["code"]})[0] == 401
    assert get(served, "/jobs", session(served)) == 200, "the token is as it was"


def test_a_revoked_token_ends_its_sessions_at_once(hub: ScriptedHub, served: Served) -> None:
    """And the codes that wait, and the sessions that came of its codes."""
    holder = hub.holders[b"mine"] = Holder("m", "submit")
    waiting, used = code(served, "mine"), code(served, "mine")
    _, of_code, _ = log_in(served, {"code": used})
    cookies = [session(served, "mine"), {"Cookie": of_code.partition(";")[0]}]
    assert [get(served, "/jobs", one) for one in cookies] == [200, 200]
    served.call(holder.end)
    assert [get(served, "/jobs", one) for one in cookies] == [401, 401]
    assert log_in(served, {"code": waiting})[0] == 401


def test_tries_are_counted_and_a_good_one_is_answered_all_the_same(served: Served) -> None:
    """As with tokens: whoever hammers from this address must not keep its owner out."""
    made = code(served)
    for n in range(FAILURES_MAX + 1):
        status, cookie, _ = log_in(served, {"code": f"{made[:-1]}{n}"} if n % 2 else {"token": "x"})
        assert (status, cookie) == (401 if n < FAILURES_MAX else 429, "")
    assert log_in(served, {"code": made})[0] == 200
    figures = json.loads(served.request("GET", "/healthz?full=true")[2])
    assert figures["unauthorized"] == FAILURES_MAX + 1


def test_asking_who_is_logged_in_is_no_failure(served: Served) -> None:
    """A page asks so when it is opened."""
    assert {get(served, "/ui/session", {}) for _ in range(FAILURES_MAX + 2)} == {401}
    assert json.loads(served.request("GET", "/healthz?full=true")[2])["unauthorized"] == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"code": 1}', 400),
        (b'{"code": "secret-x", "token": "secret-x"}', 400),
        (b'{"code": "secret-x", "role": "admin"}', 400),
        (b'{"code": "secret-x\xff"}', 400),
        (b'{"code": "' + b"secret-x" * LOGIN_BYTES_MAX + b'"}', 413),
        ('{"code": "secret-x\N{SNOWMAN}"}'.encode(), 401),
        (b'{"token": "secret-x\\ud800"}', 400),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_read_is_refused_and_not_repeated(
    served: Served, body: bytes, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was meant for the Hub alone is in no answer and on no terminal."""
    got, headers, answer = served.request("POST", "/ui/session", body, ACTION, None)
    assert got == status
    assert "set-cookie" not in headers
    assert b"secret" not in answer
    assert "secret" not in "".join(capfd.readouterr())


def test_a_body_in_messagepack_logs_in_and_a_form_does_not(served: Served) -> None:
    """A form has one of three types, all of which are refused before they are read."""
    packed = msgspec.msgpack.encode({"token": TOKEN})
    as_packed = ACTION | {"Content-Type": "application/msgpack"}
    assert served.request("POST", "/ui/session", packed, as_packed, None)[0] == 200
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
        sent = ACTION | {"Content-Type": kind}
        body = b'{"token": "a-token-of-tests"}'
        assert served.request("POST", "/ui/session", body, sent, None)[0] == 415


def test_a_code_is_no_parameter(served: Served) -> None:
    """What stands in a URL stands in the log of every proxy."""
    made = code(served)
    for method, path in (("GET", "/ui/session"), ("POST", "/ui/session"), ("GET", "/jobs")):
        body = b"{}" if method == "POST" else None
        status, headers, _ = served.request(method, f"{path}?code={made}", body, ACTION, None)
        assert status in (400, 401)
        assert "set-cookie" not in headers
    assert served.request("POST", "/ui/codes?code=1", b"")[0] == 400
    assert log_in(served, {"code": made})[0] == 200


def test_behind_https_a_browser_sends_the_cookie_by_nothing_else(served: Served) -> None:
    """Also where a proxy has the certificate: the browser says how it asks."""
    host = {"Host": "hub.example", "Origin": "https://hub.example"}
    status, cookie, _ = log_in(served, {"token": TOKEN}, **host)
    assert status == 200
    assert cookie.endswith("; Secure")
    assert "Secure" not in log_in(served, {"token": TOKEN}, Origin=served.url)[1]


def test_a_hub_with_tls_says_so_too(hub: ScriptedHub, tmp_path: Path) -> None:
    """Also to a program that says nothing of where it stands."""
    shown = identity(HubConfig(home=tmp_path, data=tmp_path, tls="auto"))
    assert shown is not None
    trusting = ssl.create_default_context(cafile=tmp_path / "tls.pem")
    with serving(hub, tls=shown.context) as served:
        connection = http.client.HTTPSConnection("127.0.0.1", served.port, context=trusting)
        body = json.dumps({"token": TOKEN}).encode()
        connection.request("POST", "/ui/session", body, ACTION)
        assert (connection.getresponse().getheader("set-cookie") or "").endswith("; Secure")
        connection.close()


def test_nobody_logs_in_before_the_hub_is_ready(hub: ScriptedHub, served: Served) -> None:
    """Which tokens were revoked is not sure before; the page itself is there."""
    hub.is_ready = False
    assert log_in(served, {"token": TOKEN})[0] == 503
    assert served.request("POST", "/ui/codes", b"")[0] == 503
    assert served.request("GET", "/ui/", token=None)[0] == 200


# What holds over time


class Clock:
    """Milliseconds that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def cookie_of(sessions: Sessions, value: str) -> dict[bytes, bytes]:
    return {b"cookie": f"{sessions.cookie}={value}".encode()}


def test_a_code_and_a_session_last_so_long() -> None:
    """To the millisecond, whoever asks in between."""
    clock = Clock()
    sessions = Sessions("0123456789", clock)
    owner = Holder("t", "read")
    early, late = sessions.new_code(owner), sessions.new_code(owner)
    value, lent = sessions.open(owner)
    headers = cookie_of(sessions, value)
    assert sessions.cookie == "hpc-01234567"
    clock.ms += CODE_MS - 1
    assert sessions.redeem(early) is owner
    clock.ms += 1
    assert sessions.redeem(late) is None
    clock.ms += SESSION_MS - CODE_MS - 1
    assert sessions.holder(headers) is lent
    assert lent.expires_at == 1_000_000 + SESSION_MS
    clock.ms += 1
    assert sessions.holder(headers) is None
    assert sessions.left_s(lent) == 0


def test_neither_outlasts_its_token() -> None:
    """Also through a code that a session made: no chain of them gets longer."""
    clock = Clock()
    sessions = Sessions("h", clock)
    owner = Holder("t", "read", clock.ms + 1000)
    first = sessions.new_code(owner)
    value, lent = sessions.open(owner)
    _, next_ = sessions.open(lent)
    assert (lent.expires_at, next_.expires_at) == (owner.expires_at, owner.expires_at)
    clock.ms += 1000
    assert sessions.holder(cookie_of(sessions, value)) is None
    assert sessions.redeem(first) is None


def test_what_one_token_can_hold_is_bounded_and_takes_nothing_of_others() -> None:
    """The oldest gives way; one that makes many cannot push out another's."""
    sessions = Sessions("h", Clock())
    other, many = Holder("o", "admin"), Holder("m", "read")
    kept = sessions.new_code(other)
    codes = [sessions.new_code(many) for _ in range(HELD_MAX + 1)]
    opened = [sessions.open(many) for _ in range(HELD_MAX + 1)]
    assert sessions.redeem(kept) is other
    assert [sessions.redeem(one) is many for one in codes] == [False] + [True] * HELD_MAX
    there = [sessions.holder(cookie_of(sessions, value)) for value, _ in opened]
    assert there == [None, *[lent for _, lent in opened[1:]]]
    assert opened[0][1].ended.is_set(), "its streams are cut"


def test_nothing_that_was_given_out_is_kept() -> None:
    """Digests alone: who reads the memory of the Hub can log in by nothing in it."""
    sessions = Sessions("h", Clock())
    given = [sessions.new_code(Holder("t", "read")), sessions.open(Holder("t", "read"))[0]]
    kept = repr([vars(sessions), list(vars(sessions).values())])
    assert all(secret not in kept for secret in given)


def test_one_that_is_lent_ends_with_its_lender_whenever_it_was_lent() -> None:
    """Before, after, and over two steps."""
    owner = Holder("t", "read")
    lent = owner.lend(5)
    again = lent.lend(9)
    assert again.expires_at == 5
    owner.end()
    assert lent.ended.is_set()
    assert again.ended.is_set()
    assert owner.lend(5).ended.is_set()
