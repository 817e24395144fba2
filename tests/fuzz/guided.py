"""The properties of test_decoders.py, with input that atheris chooses by what it reaches.

`python tests/fuzz/guided.py -max_total_time=600` goes on for ten minutes; its arguments are
libFuzzer's. The first byte of an input says which property, from the rest hypothesis draws. What
fails is shown, and kept in a file `crash-…` that can be given as an argument.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import atheris

with atheris.instrument_imports(include=["hpc"]):
    import test_decoders

BYTES_MAX = 4096
SEEDS_EACH = 2

PROPERTIES: list[Callable[[bytes], Any]] = [
    test.hypothesis.fuzz_one_input
    for _, test in sorted(vars(test_decoders).items())
    if hasattr(test, "hypothesis")
]


def one(data: bytes) -> None:
    """Try one input on the property that it names."""
    if data:
        PROPERTIES[data[0] % len(PROPERTIES)](data[1:])


def main() -> None:
    """Fuzz from some bytes for each property: from a few nothing is drawn."""
    print(f"{len(PROPERTIES)} properties", flush=True)
    random = Random(1)
    with tempfile.TemporaryDirectory() as corpus:
        for number in range(len(PROPERTIES) * SEEDS_EACH):
            seed = bytes([number % len(PROPERTIES)]) + random.randbytes(BYTES_MAX // 4)
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, f"-max_len={BYTES_MAX}", "-len_control=0", corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
