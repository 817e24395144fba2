"""The hot routes: ingest, control, pull, claim, outputs, and the wait for a job's end.

Each puts the raw query and the raw body to the Hub by a call and is called back with the answer;
none looks into either. A job goes through five of these one after the other, and what ASGI takes
for each (tasks, messages, rounds of the event loop) was two fifths of the loop's time for it. How
requests come and answers leave is exchange.py's; all other routes are Litestar's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import quote

from hpc.ports import Answered, Holder, HubPorts
from hpc.protocols import Answer
from hpc.transport.admission import Gate, Head, Refusal
from hpc.transport.bodies import BYTES_TYPE, JSON_TYPE, Bodies, form_refusal, type_refusal
from hpc.transport.queries import parsed, text_of

_JOBS: Final = "/jobs/"


class Route(NamedTuple):
    """What becomes of a request.

    Attributes:
        verb: The Hub's word for it.
        body_type: Media type of its body, or None where there is none.
        is_held: It is answered when there is something to tell, so that a client that leaves must
            be noticed.
        takes: The parameters of its query; None: the engine says which.
    """

    verb: str
    body_type: bytes | None = None
    is_held: bool = False
    takes: tuple[str, ...] | None = None


HOT_ROUTES: Final = {
    "/ingest": Route("ingest", JSON_TYPE, takes=("dry_run",)),
    "/control": Route("control", JSON_TYPE, takes=()),
    "/pull": Route("pull", is_held=True),
    "/claim": Route("claim", JSON_TYPE, is_held=True, takes=()),
    "/outputs": Route("outputs", BYTES_TYPE, takes=()),
}
"""By path."""

_AWAITED_JOB: Final = Route("job", is_held=True)


class HotRoutes:
    """The hot routes, bound to one Hub.

    Attributes:
        bodies: Counts all that is held.
        gate: Judges heads.
        usual_head: Of its answers with status 200, up to the length; empty until the first.
    """

    def __init__(self, ports: HubPorts, gate: Gate) -> None:
        self.bodies = Bodies()
        self.gate = gate
        self.usual_head = b""
        self._ports = ports

    def find(self, request: Head) -> Route | None:
        """Return the route of a request, or None if it is no hot one."""
        path = request.path
        # A slash at the end says nothing, here as on the other routes.
        found = HOT_ROUTES.get(path) or HOT_ROUTES.get(path.rstrip("/"))
        if found is None and path.startswith(_JOBS) and b"wait=" in request.query:
            job_id = _job_id(path)
            if job_id and "/" not in job_id and request.method == "GET":
                return _AWAITED_JOB
        return found

    def admit(self, route: Route, request: Head) -> Holder | Refusal:
        """Return who sends a request, or what its head alone is refused for."""
        admitted = self.gate.admit(request)
        if isinstance(admitted, Refusal):
            return admitted
        if route.body_type is not None and (
            answer := type_refusal(request.headers, route.body_type)
        ):
            return Refusal(answer, [])
        query = request.query
        read = text_of(query) if route.takes is None or not query else parsed(query, route.takes)
        return Refusal(read, []) if isinstance(read, Answer) else admitted

    def put(
        self, route: Route, request: Head, who: str, body: bytes, answered: Answered
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
        leave = self._ports.put(route.verb, _query(route, request), body, answered, who)
        return leave if route.is_held else None


def _query(route: Route, request: Head) -> str:
    query = request.query.decode("ascii")
    if route is _AWAITED_JOB:
        return f"job_id={quote(_job_id(request.path), safe='')}&{query}"
    key = request.headers.get(b"idempotency-key") if route.verb == "ingest" else None
    if key is not None:
        query += ("&" if query else "") + "key=" + quote(key, safe="")
    return query


def _job_id(path: str) -> str:
    return path.removeprefix(_JOBS).rstrip("/")
