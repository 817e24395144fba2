"""Which NVIDIA GPUs this process may use, by the ids that `CUDA_VISIBLE_DEVICES` takes.

It asks the driver's library through nvidia-ml-py (the extra `gpu`), or counts what the driver shows
in /proc where that is not installed. It neither measures load (the monitor's sampler does) nor
knows of relays. Where no driver is, nothing is imported and nothing opened, and what cannot be read
is told, never raised.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from hpc.resources import CUDA_VARIABLE

_ID_PREFIXES = ("GPU-", "MIG-")


def has_driver(root: Path = Path("/")) -> bool:
    """Return whether a driver has left a trace of itself."""
    return (root / "proc/driver/nvidia").is_dir() or (root / "dev/nvidiactl").exists()


def found(
    environ: Mapping[str, str], *, say: Callable[[str], None], root: Path = Path("/")
) -> tuple[str, ...]:
    """Return the ids of the GPUs that this process may use.

    Args:
        environ: Of this process: its `CUDA_VISIBLE_DEVICES` leaves out the others.
        say: Told in a line what could not be read.
        root: Where /proc and /dev are.
    """
    if not has_driver(root):
        return ()
    count = _counted_by_library(say)
    if count is None:
        count = _counted_in_proc(root, say)
    return visible(count, environ.get(CUDA_VARIABLE))


def visible(count: int, text: str | None) -> tuple[str, ...]:
    """Return the ids that a `CUDA_VISIBLE_DEVICES` leaves of so many GPUs.

    As the CUDA library reads it: what follows an index that is none is not seen. Ids of GPUs and of
    their parts (`GPU-…`, `MIG-…`) are kept as they are.

    Args:
        count: GPUs of this machine.
        text: The variable; None where it is not set.
    """
    if text is None:
        return tuple(str(index) for index in range(count))
    ids: dict[str, None] = {}
    for part in text.split(",") if count > 0 else ():
        name = part.strip()
        if name.isascii() and name.isdigit() and int(name) < count:
            ids[str(int(name))] = None
        elif name.startswith(_ID_PREFIXES):
            ids[name] = None
        else:
            break
    return tuple(ids)


def _counted_by_library(say: Callable[[str], None]) -> int | None:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    except Exception as error:  # another module of that name, or one that is broken
        say(f"GPUs cannot be read: importing pynvml failed: {error!r}")
        return None
    try:
        nvml.nvmlInit()
    except Exception as error:
        say(f"GPUs cannot be read through the driver's library: {error}")
        return None
    try:
        return int(nvml.nvmlDeviceGetCount())
    except Exception as error:
        say(f"GPUs cannot be counted by the driver's library: {error}")
        return None
    finally:
        # Tasks may reset or reconfigure GPUs: nobody of ours holds them.
        with contextlib.suppress(Exception):
            nvml.nvmlShutdown()


def _counted_in_proc(root: Path, say: Callable[[str], None]) -> int:
    """Return how many GPUs the driver shows, those left out that it was told to leave alone."""
    folder = root / "proc/driver/nvidia/gpus"
    try:
        infos = [gpu / "information" for gpu in folder.iterdir() if gpu.is_dir()]
    except FileNotFoundError:
        return 0
    except OSError as error:
        say(f"GPUs cannot be counted: {error}")
        return 0
    return sum(not _is_excluded(info, say) for info in infos)


def _is_excluded(information: Path, say: Callable[[str], None]) -> bool:
    try:
        text = information.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        say(f"a GPU is not offered: {error}")
        return True
    lines = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    return fields.get("GPU Excluded", "No") == "Yes"
