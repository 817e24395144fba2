"""Which GPUs are found, against made-up /proc and /dev; nvidia-ml-py is not asked to be here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.gpus import found, has_driver, visible


def gpu(root: Path, bus: str, information: str | None) -> None:
    folder = root / "proc/driver/nvidia/gpus" / bus
    folder.mkdir(parents=True)
    if information is not None:
        (folder / "information").write_text(information)


def information(minor: int, *, excluded: str = "No") -> str:
    return (
        f"Model: \t\t NVIDIA H100\nGPU UUID: \t GPU-{minor}\n"
        f"Device Minor: \t {minor}\nGPU Excluded:\t {excluded}\n"
    )


def test_without_a_driver_nothing_is_looked_for(tmp_path: Path) -> None:
    """Most machines have none: a relay's start must not be slower for it."""
    assert not has_driver(tmp_path)
    said: list[str] = []
    assert found({"CUDA_VISIBLE_DEVICES": "0"}, say=said.append, root=tmp_path) == ()
    assert said == []
    script = (
        "import sys; from pathlib import Path; from hpc import gpus; "
        f"gpus.found({{}}, say=print, root=Path({str(tmp_path)!r})); "
        "sys.exit('pynvml' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.skipif(
    importlib.util.find_spec("pynvml") is not None, reason="the library is asked first"
)
def test_without_the_library_the_driver_s_folders_are_counted(tmp_path: Path) -> None:
    """One that the driver leaves alone is nobody's, one that cannot be read is told."""
    said: list[str] = []
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert found({}, say=said.append, root=tmp_path) == ()
    gpu(tmp_path, "0000:3b:00.0", information(1))
    gpu(tmp_path, "0000:1a:00.0", information(0))
    gpu(tmp_path, "0000:5e:00.0", information(2, excluded="Yes"))
    assert found({}, say=said.append, root=tmp_path) == ("0", "1")
    assert found({"CUDA_VISIBLE_DEVICES": "1"}, say=said.append, root=tmp_path) == ("1",)
    assert said == []
    gpu(tmp_path, "0000:86:00.0", None)
    assert found({}, say=said.append, root=tmp_path) == ("0", "1")
    assert len(said) == 1
    assert "0000:86:00.0" in said[0]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (None, ("0", "1", "2")),
        ("", ()),
        ("0", ("0",)),
        ("2,0", ("2", "0")),
        (" 1 , 02 ", ("1", "2")),
        ("1,1", ("1",)),
        ("-1", ()),
        ("0,-1,2", ("0",)),
        ("0,3,2", ("0",)),
        ("NoDevFiles", ()),
        ("GPU-7f,MIG-GPU-7f/1/0,1", ("GPU-7f", "MIG-GPU-7f/1/0", "1")),
    ],
)
def test_what_is_hidden_from_the_relay_is_not_offered(
    text: str | None, ids: tuple[str, ...]
) -> None:
    """As CUDA reads it: what follows an index that is none is hidden."""
    assert visible(3, text) == ids
    assert visible(0, text) == ()
