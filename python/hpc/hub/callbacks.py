"""Callbacks: the Hub pokes those that cannot ask it, by `POST` to the URL of a generator's spec.

No turn and no request waits for one. A subscriber is a generator with a `callback_url`; it holds
one cursor, the newest, and one poke to it is under way at most. One that fails is tried again after
a back-off, and is told in figures; nothing else comes of it. A poke is a hint: what it says is the
generator and a cursor, never a token, and who misses one learns as much from its next pull.
callback_guard.py says what may be called, when a generator is registered and again at each poke.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from hpc.hub.callback_guard import (
    CallbackRefused,
    Target,
    check_address,
    check_addresses,
    parse_url,
)
from hpc.hub.control_rows import Control
from hpc.hub.look_up import look_up
from hpc.networks import Address, Network
from hpc.ports import PokeFeed
from hpc.problems import problem
from hpc.protocols import Answer

POKE_S: Final = 2.0
"""From the look-up of a name to the first line of an answer."""

ANSWER_BYTES_MAX: Final = 4 * 1024
"""Of an answer, of which the first line is looked at."""

GAP_S: Final = 0.1
"""Between two pokes of one subscriber; what comes meanwhile is one poke."""

BACKOFF_S_MAX: Final = 300.0
"""After a failure 1 s, twice as long after each more, up to this; by chance as little as half."""

SUBSCRIBERS_MAX: Final = 64

CONNECTIONS_MAX: Final = 16

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Looks up a name for a port; raises `OSError`."""

NO_STATUS: Final = 0
"""Of an answer that is no HTTP."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")
_HINT: Final = "hpc hub --allow-callbacks CIDR   or leave `callback_url` out and follow the pokes"
_MSGPACK: Final = b"\x7f"
"""A body that begins with a greater byte is MessagePack."""


class _Spec(msgspec.Struct):
    callback_url: str | None = None


class _Control(msgspec.Struct):
    type: str = ""
    gid: str = ""
    spec: _Spec | None = None


class _Subscriber:
    """A generator with a callback, and what it is to be told."""

    def __init__(self, gid: str, target: Target) -> None:
        self.gid = gid
        self.target = target
        self.cursor: int | None = None
        self.failures = 0
        self.trouble = ""
        self.telling: asyncio.Task[None] | None = None


class Callbacks:
    """All subscribers of one Hub. Used on the event loop's thread once it runs.

    Args:
        allowed: Networks that may be called; none: nobody is.
        resolve: Looks up names.
    """

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        resolve: Resolve = look_up,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._subscribers: dict[str, _Subscriber] = {}
        self._left_out: dict[str, str] = {}
        """By generator, why the URL in its spec is not called."""
        self._connections = asyncio.Semaphore(CONNECTIONS_MAX)
        self._tls: ssl.SSLContext | None = None
        self._told = 0
        self._failed = 0

    def settle(self, generators: Iterable[tuple[str, str]]) -> None:
        """Take over what the engine has recovered: id and spec of each generator."""
        for gid, spec in generators:
            self._put(gid, spec)

    def refusal(self, body: bytes) -> Answer | None:
        """Return the 422 of a registration with a URL that is not called; None of any other body.

        What cannot be read here is the engine's to refuse.
        """
        if b"callback_url" not in body and b"\\" not in body:
            return None
        decoder = msgspec.msgpack if body[:1] > _MSGPACK else msgspec.json
        try:
            control = decoder.decode(body, type=_Control)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        url = None if control.spec is None else control.spec.callback_url
        if control.type != "RegisterGenerator" or url is None:
            return None
        try:
            self._checked(control.gid, url)
        except CallbackRefused as error:
            return _not_well_formed(str(error), url)
        return None

    def take(self, control: Control) -> None:
        """Take in a registration, whatever of."""
        if control.kind == "RegisterGenerator":
            self._put(control.of, control.spec)

    async def run(self, feed: PokeFeed) -> None:
        """Poke until the feed ends, then leave what is under way.

        Args:
            feed: Of all generators; closed at the end.
        """
        try:
            while news := await feed.take():
                for gid, seq in news:
                    if (subscriber := self._subscribers.get(gid)) is not None:
                        self._tell(subscriber, seq)
        finally:
            feed.close()
            for subscriber in self._subscribers.values():
                _leave(subscriber)

    def figures(self) -> dict[str, Any]:
        """Return counts since the start, and why each that fails does."""
        failing = {one.gid: one.trouble for one in self._subscribers.values() if one.trouble}
        return {
            "subscribers": len(self._subscribers),
            "told": self._told,
            "failed": self._failed,
            "failing": failing | self._left_out,
        }

    def _checked(self, gid: str, url: str) -> Target:
        """Return what a URL names. A name is not looked up yet: that is done at each poke."""
        if not self._allowed:
            raise CallbackRefused("null: this Hub calls nobody")
        target = parse_url(url)
        if target.address is not None:
            check_address(target.address, self._allowed)
        if gid not in self._subscribers and len(self._subscribers) >= SUBSCRIBERS_MAX:
            raise CallbackRefused(f"null: {SUBSCRIBERS_MAX} generators have one, which is the most")
        return target

    def _put(self, gid: str, spec: bytes | str) -> None:
        url = msgspec.json.decode(spec, type=_Spec).callback_url
        self._left_out.pop(gid, None)
        if (old := self._subscribers.pop(gid, None)) is not None:
            _leave(old)
        if url is None:
            return
        try:
            self._subscribers[gid] = _Subscriber(gid, self._checked(gid, url))
        except CallbackRefused as error:  # of an earlier start, where other networks were allowed
            if len(self._left_out) < SUBSCRIBERS_MAX:
                self._left_out[gid] = f"it must be {error}"

    def _tell(self, subscriber: _Subscriber, seq: int) -> None:
        subscriber.cursor = seq
        if subscriber.telling is None or subscriber.telling.done():
            subscriber.telling = asyncio.ensure_future(self._tell_all(subscriber))

    async def _tell_all(self, subscriber: _Subscriber) -> None:
        """Poke a subscriber until it knows the newest cursor."""
        while (cursor := subscriber.cursor) is not None:
            async with self._connections:
                subscriber.trouble = await self._poke(subscriber, cursor)
            if subscriber.trouble:
                self._failed += 1
                subscriber.failures += 1
            else:
                self._told += 1
                subscriber.failures = 0
                if subscriber.cursor == cursor:
                    subscriber.cursor = None
            await asyncio.sleep(_pause_s(subscriber.failures))

    async def _poke(self, subscriber: _Subscriber, cursor: int) -> str:
        """Send one poke; returns why it failed, or nothing."""
        body = msgspec.json.encode({"gid": subscriber.gid, "cursor": cursor})
        try:
            async with asyncio.timeout(POKE_S):
                status = await self._post(subscriber.target, body)
        except CallbackRefused as error:
            return f"it must be {error}"
        except TimeoutError:
            return f"it did not answer within {POKE_S:g} s"
        except ssl.SSLError as error:
            return f"TLS: {error.reason}"
        except (OSError, UnicodeError) as error:
            return f"it cannot be reached: {error}"
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            status = NO_STATUS
        if status == NO_STATUS:
            return "what it answered is no HTTP"
        return "" if 200 <= status < 300 else f"it answered {status}"  # noqa: PLR2004

    async def _post(self, target: Target, body: bytes) -> int:
        """Call an address that was judged, and return the status of its answer."""
        reader, writer = await self._opened(target, await self._addresses(target))
        try:
            writer.write(_head(target, len(body)) + body)
            line = await reader.readuntil(b"\n")
        finally:
            writer.transport.abort()  # the rest of an answer, and a farewell, are of no interest
        status = _STATUS.match(line)
        return NO_STATUS if status is None else int(status[1])

    async def _addresses(self, target: Target) -> Sequence[Address]:
        """Look up a name, once: what is called is one of these, all of which are judged."""
        if target.address is not None:
            addresses: Sequence[Address] = [target.address]
        else:
            addresses = await self._resolve(target.host, target.port)
        check_addresses(addresses, self._allowed)
        return addresses

    async def _opened(
        self, target: Target, addresses: Sequence[Address]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first address that takes it."""
        how: dict[str, Any] = {"limit": ANSWER_BYTES_MAX}
        if target.scheme == "https":
            if self._tls is None:  # made elsewhere: it reads some hundred certificates
                self._tls = await asyncio.to_thread(ssl.create_default_context)
            how |= {"ssl": self._tls, "server_hostname": target.host}
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(str(address), target.port, **how)
        return await asyncio.open_connection(str(addresses[-1]), target.port, **how)


def _head(target: Target, body_bytes: int) -> bytes:
    lines = (
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.host_field}",
        "Content-Type: application/json",
        f"Content-Length: {body_bytes}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _pause_s(failures: int) -> float:
    if failures == 0:
        return GAP_S
    longest_s = min(2.0 ** min(failures - 1, 30), BACKOFF_S_MAX)
    return longest_s * random.uniform(0.5, 1)  # noqa: S311 - it spreads load, and keeps no secret


def _leave(subscriber: _Subscriber) -> None:
    if subscriber.telling is not None:
        subscriber.telling.cancel()
        subscriber.telling = None


def _not_well_formed(expected: str, got: str) -> Answer:
    field = "spec.callback_url"
    return problem(
        422,
        "not_well_formed",
        "Not well-formed",
        f"`{field}` must be {expected}",
        _HINT,
        errors=[{"field": field, "expected": expected, "got": got[:100]}],
    )
