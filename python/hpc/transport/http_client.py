"""A blocking client of the Hub: finds it, keeps a connection, turns refusals into errors.

Every request of the protocol may be sent again: batches carry their id, registrations compare and
set. So a request whose kept connection turns out to be closed is sent once more at once, and after
a refused connection or a 401 the access file is read again, since the Hub may have come back under
another port or token. Longer patience is the caller's (client/patience.py).

It follows no redirects and keeps no cookies; it is no plugin, and relays use http_async.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from hpc.access import Access
from hpc.errors import NoHub
from hpc.transport.heads import Head
from hpc.transport.refusals import REFUSALS_BEGIN, error_of
from hpc.transport.wire import Broken, Untrusted, Wire

JSON: Final = "application/json"
HUB_HEADER: Final = "hpc-hub"
"""Every answer of a Hub carries it."""

PROTOCOL: Final = "1"
"""The version that is spoken here."""

CONNECT_S_MAX: Final = 10.0
_UNAUTHORIZED: Final = 401

Query = Sequence[tuple[str, str | int | float]]


class Unanswered(NoHub):
    """Something was sent and no answer came: whether it was recorded is unknown."""

    default_code = "unanswered"


class Reply(NamedTuple):
    """An answer that is no refusal."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever the route answers
        """Return the body, decoded."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise NoHub(f"An answer of the Hub is not JSON: {error}") from error


class Stream:
    """An answer that goes on: iterate over its bytes, and close it.

    Attributes:
        headers: Of the answer; names are in lower case.
    """

    def __init__(self, wire: Wire, head: Head) -> None:
        self.headers = head.headers
        self._wire = wire
        self._pieces = wire.pieces(head, None)

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces
        except OSError as error:
            raise Unanswered(f"The Hub went away while it was answering: {_why(error)}") from error

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the stream; the Hub notices."""
        self._wire.close()

    def interrupt(self) -> None:
        """End the iteration that goes on in another thread; the stream is still to be closed."""
        self._wire.interrupt()


class HttpClient:
    """One kept connection to the Hub; not for several threads at once, streams excepted.

    Args:
        read_access: Where the Hub is and by which token; called first when something is sent, and
            again when that does not work any more.
        timeout_s: For requests that are given no other.
    """

    def __init__(self, read_access: Callable[[], Access], *, timeout_s: float = 30.0) -> None:
        self.timeout_s = timeout_s
        self._read_access = read_access
        self._access: Access | None = None
        self._wire: Wire | None = None

    @property
    def access(self) -> Access:
        """Where the Hub is, as far as was read last."""
        if self._access is None:
            self._access = self._read_access()
        return self._access

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def get(self, path: str, query: Query = (), *, timeout_s: float | None = None) -> Reply:
        """Send a GET; raises as `request` does."""
        return self.request("GET", target(path, query), timeout_s=timeout_s)

    def post(
        self, path: str, document: object, query: Query = (), *, timeout_s: float | None = None
    ) -> Reply:
        """Send a JSON document; raises as `request` does."""
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return self.request(
            "POST", target(path, query), body.encode("utf-8", "surrogatepass"), timeout_s=timeout_s
        )

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        content_type: str = JSON,
        timeout_s: float | None = None,
    ) -> Reply:
        """Send one request and return its answer.

        Raises:
            Unanswered: It was sent, and what became of it is unknown.
            NoHub: Nothing was sent, or the Hub cannot answer now (429, 5xx).
            HpcError: The refusal, by its status.
        """
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        reply = self._asked(method, target, body, content_type, deadline)
        if reply.status == _UNAUTHORIZED and self._has_new_access():
            reply = self._asked(method, target, body, content_type, deadline)
        if reply.status >= REFUSALS_BEGIN:
            raise error_of(reply.status, reply.body, reply.headers.get("retry-after", ""))
        return reply

    def stream(self, path: str, query: Query = (), *, idle_s: float | None = None) -> Stream:
        """Open an answer that goes on, on a connection of its own.

        Args:
            path: The route.
            query: Its parameters.
            idle_s: How long it may say nothing; None is for ever.

        Raises:
            HpcError: As `request` does, except that a 401 does not make it look for a new token.
        """
        deadline = time.monotonic() + self.timeout_s
        wire = self._opened(deadline)
        wire.idle_s = idle_s
        try:
            wire.send("GET", target(path, query), self._headers(), b"", deadline)
            head = wire.read_head(deadline)
            self._check_hub(head)
            refusal = wire.read_body(head, deadline) if head.status >= REFUSALS_BEGIN else b""
        except OSError as error:
            wire.close()
            raise self._unanswered(error) from error
        except NoHub:
            wire.close()
            raise
        if head.status >= REFUSALS_BEGIN:
            wire.close()
            raise error_of(head.status, refusal, head.headers.get("retry-after", ""))
        return Stream(wire, head)

    def _asked(
        self, method: str, target: str, body: bytes, content_type: str, deadline: float
    ) -> Reply:
        wire = self._wire
        if wire is not None:
            try:
                return self._exchange(wire, method, target, body, content_type, deadline)
            except Broken as error:
                if not error.is_stale:
                    raise self._unanswered(error) from error
            except OSError as error:
                raise self._unanswered(error) from error
            try:
                wire = self._opened(deadline)
            except NoHub as error:
                # The Hub may have taken the request and ended before it could answer.
                raise Unanswered(error.message, hint=error.hint) from error
        else:
            wire = self._opened(deadline)
        self._wire = wire
        try:
            return self._exchange(wire, method, target, body, content_type, deadline)
        except OSError as error:
            raise self._unanswered(error) from error

    def _exchange(
        self, wire: Wire, method: str, target: str, body: bytes, content_type: str, deadline: float
    ) -> Reply:
        headers = self._headers()
        if method != "GET":
            headers["Content-Type"] = content_type
        keeps_alive = False
        try:
            wire.send(method, target, headers, body, deadline)
            head = wire.read_head(deadline)
            self._check_hub(head)
            reply = Reply(head.status, head.headers, wire.read_body(head, deadline))
            keeps_alive = head.keeps_alive
        finally:
            # In the middle of an answer the connection is in no state to carry another request.
            if not keeps_alive:
                self.close()
        return reply

    def _opened(self, deadline: float) -> Wire:
        """Connect, to where the Hub is now if it is not where it was.

        Raises:
            NoHub: Nothing answers there; nothing was sent.
        """
        try:
            return self._connected(deadline)
        except OSError as error:
            if not self._has_new_access():
                raise self._nobody(error) from error
        try:
            return self._connected(deadline)
        except OSError as error:
            raise self._nobody(error) from error

    def _connected(self, deadline: float) -> Wire:
        url, _, pin = self.access
        return Wire(url, min(deadline, time.monotonic() + CONNECT_S_MAX), pin)

    def _has_new_access(self) -> bool:
        before = self._access
        self._access = self._read_access()
        if self._access == before:
            return False
        self.close()
        return True

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": JSON, "Hpc-Protocol": PROTOCOL}
        if token := self.access.token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _check_hub(self, head: Head) -> None:
        """Make sure that a Hub has answered: something else may have its port.

        Raises:
            NoHub: No; whatever it says means nothing.
        """
        if HUB_HEADER not in head.headers:
            raise NoHub(
                f"What answers at {self.access.url} is no Hub (status {head.status})",
                hint="another program has that port; see HPC_HUB_URL, or start one: hpc up",
            )

    def _nobody(self, error: OSError) -> NoHub:
        if isinstance(error, Untrusted):
            return NoHub(untrusted(self.access.url, error), hint=error.hint)
        return NoHub(
            f"No Hub answers at {self.access.url} ({_why(error)})",
            hint="start one: hpc up   or set HPC_HUB_URL",
        )

    def _unanswered(self, error: OSError) -> Unanswered:
        url, hint = self.access.url, None
        if isinstance(error, Broken) and error.is_stale and url.startswith("http:"):
            hint = "if it serves TLS, its URL begins with https://"
        return Unanswered(f"No answer of the Hub at {url}: {_why(error)}", hint=hint)


def target(path: str, query: Query) -> str:
    """Return a path with its query."""
    return f"{path}?{urlencode(query)}" if query else path


def untrusted(url: str, error: Untrusted) -> str:
    """Return the sentence that says why a Hub was told nothing."""
    return f"What answers at {url} is not trusted, and was sent nothing: {error}"


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror or str(error) or type(error).__name__).lower()
