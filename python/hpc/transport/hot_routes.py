"""The hot routes: ingest, control, pull, claim, outputs, and the wait for a job's end.

Each puts the raw query and the raw body to the Hub by a call and is called back with the answer;
none looks into either. A job goes through five of these one after the other, and what ASGI takes
for each (tasks, messages, rounds of the event loop) was two fifths of the loop's time for it. How
requests come and answers leave is exchange.py's; all other routes are Litestar's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

from hpc.ports import Answered, HubPorts
from hpc.protocols import Answer
from hpc.transport.admission import Refusal, refusal_of
from hpc.transport.bodies import BYTES_TYPE, JSON_TYPE, Bodies, form_refusal, type_refusal
from hpc.transport.problems import wrong_method
from hpc.transport.queries import text_of

_JOBS: Final = "/jobs/"


class Request(NamedTuple):
    """The head of a request.

    Attributes:
        method: In upper case.
        path: Decoded.
        query: As it came.
        headers: By lower-case name.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]


class Route(NamedTuple):
    """What becomes of a request.

    Attributes:
        verb: The Hub's word for it.
        method: The one that it takes.
        body_type: Media type of its body, or None where there is none.
        is_held: It is answered when there is something to tell, so that a client that leaves must
            be noticed.
    """

    verb: str
    method: str
    body_type: bytes | None = None
    is_held: bool = False


HOT_ROUTES: Final = {
    "/ingest": Route("ingest", "POST", JSON_TYPE),
    "/control": Route("control", "POST", JSON_TYPE),
    "/pull": Route("pull", "GET", is_held=True),
    "/claim": Route("claim", "POST", JSON_TYPE, is_held=True),
    "/outputs": Route("outputs", "POST", BYTES_TYPE),
}
"""By path."""

_AWAITED_JOB: Final = Route("job", "GET", is_held=True)


class HotRoutes:
    """The hot routes, bound to one Hub."""

    def __init__(self, ports: HubPorts) -> None:
        self.bodies = Bodies()
        self._ports = ports

    def find(self, request: Request) -> Route | None:
        """Return the route of a request, or None if it is no hot one."""
        path = request.path
        # A slash at the end says nothing, here as on the other routes.
        found = HOT_ROUTES.get(path) or HOT_ROUTES.get(path.rstrip("/"))
        if found is None and path.startswith(_JOBS) and b"wait=" in request.query:
            job_id = _job_id(path)
            if job_id and "/" not in job_id and request.method == "GET":
                return _AWAITED_JOB
        return found

    def refusal(self, route: Route, request: Request) -> Refusal | None:
        """Return what the head alone is refused for, before a body is read."""
        method, path, query, headers = request
        refusal = refusal_of(self._ports, path, query, headers)
        if refusal is not None:
            return refusal
        if method != route.method:
            allow = [(b"allow", route.method.encode())]
            return Refusal(wrong_method(method, route.method), allow)
        if route.body_type is not None and (answer := type_refusal(headers, route.body_type)):
            return Refusal(answer, [])
        text = text_of(query)
        return Refusal(text, []) if isinstance(text, Answer) else None

    def put(
        self, route: Route, request: Request, body: bytes, answered: Answered
    ) -> Callable[[], None] | None:
        """Put a whole request to the Hub; `answered` is called once, now or later.

        Returns:
            What to call if the client leaves a request that is held, after which `answered` is not
            called any more; None where the answer is awaited whether or not the client is there.
        """
        if route.body_type == JSON_TYPE and (refusal := form_refusal(request.headers, body)):
            answered(refusal)
            return None
        if route.verb == "outputs":
            self._ports.put_outputs(body, answered)
            return None
        leave = self._ports.put(route.verb, _query(route, request), body, answered)
        return leave if route.is_held else None


def _query(route: Route, request: Request) -> str:
    query = request.query.decode("ascii")
    if route is _AWAITED_JOB:
        return f"job_id={quote(_job_id(request.path), safe='')}&{query}"
    key = request.headers.get(b"idempotency-key") if route.verb == "ingest" else None
    if key is not None:
        query += ("&" if query else "") + "key=" + quote(key, safe="")
    return query


def _job_id(path: str) -> str:
    return path.removeprefix(_JOBS).rstrip("/")
