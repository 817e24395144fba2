"""Look-up: the addresses of a name, in a thread that nobody need wait for.

A resolver that does not answer holds whoever asks it for up to a minute, and cannot be called off.
The threads of the event loop and of asyncio are waited for at the end of the process, these are
not; and there are few of them, so that names that hang take nothing from anybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from ipaddress import ip_address
from typing import Final

from hpc.networks import Address

LOOK_UPS_MAX: Final = 16

_free = threading.BoundedSemaphore(LOOK_UPS_MAX)


async def look_up(host: str, port: int) -> list[Address]:
    """Return the addresses of a name, as the machine finds them.

    Raises:
        OSError: It has none, or as many names as may be are being looked up.
    """
    if not _free.acquire(blocking=False):
        raise OSError(f"{LOOK_UPS_MAX} names are being looked up")
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def ask() -> None:
        addresses: list[Address] = []
        failed: OSError | None = None
        try:
            told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(ip_address(address[0]) for *_, address in told))
        except (OSError, ValueError) as error:  # no address, or no name that could have one
            failed = OSError(str(error))
        finally:
            _free.release()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_settle, found, addresses, failed)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return await found


def _settle(
    found: asyncio.Future[list[Address]], addresses: list[Address], failed: OSError | None
) -> None:
    if found.done():
        return  # whoever asked does not wait any more
    if failed is None:
        found.set_result(addresses)
    else:
        found.set_exception(failed)
