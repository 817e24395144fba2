"""The house rules that a reviewer cannot hold in mind: each is read off the sources themselves.

| what must stay absent                           | why                                 |
|-------------------------------------------------|-------------------------------------|
| an import against the direction, or of a plugin | parts can be replaced one by one    |
| I/O, clocks, chance, threads in the pure crate  | a cluster is replayed from one seed |
| `pickle`, `eval` and their like                 | bytes from the wire are only data,  |
|                                                 | but for calls at their two ends     |
| sleeping as a way to find out                   | idle costs nothing, news come now   |

Nothing is imported here but the standard library, so a broken package still gets its answer.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "hpc"
RUST = ROOT / "rust"
PURE = RUST / "hpc-core"

# A unit may import units of a lower level only; units of one level know nothing of each other.
LEVELS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "_core",
            "errors",
            "memory_privacy",
            "nearest",
            "placeholders",
            "ranges",
            "states",
            "tokens",
            "web",
        }
    ),
    frozenset(
        {
            "arrays",
            "clock",
            "domain",
            "efficiency",
            "file_systems",
            "machine",
            "networks",
            "resources",
            "settings",
            "terminal",
            "timeline",
            "units",
        }
    ),
    frozenset({"access", "gpus", "limits", "protocols", "report"}),
    frozenset({"config", "ports", "problems", "submission"}),
    frozenset({"graphs"}),
    frozenset({"handlers", "namespaces", "plugins", "storage", "transport"}),
    frozenset({"client", "hub", "monitor", "relay"}),
    frozenset({"calls", "waiting"}),
    frozenset({"executor"}),
    frozenset({"launch"}),
    frozenset({"", "testing"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
LEVEL_OF = {unit: level for level, units in enumerate(LEVELS) for unit in units}

PLUGINS = frozenset({"handlers", "namespaces", "storage", "transport"})
CLIENT_HALF = frozenset(
    {
        "backoff",
        "heads",
        "http_async",
        "http_client",
        "refusals",
        "register",
        "sockets",
        "tls",
        "wire",
    }
)
"""Modules of `transport` that reach a Hub; the others serve one."""

NEVER_IMPORTED = frozenset({"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"})
NEVER_CALLED = frozenset({"compile", "eval", "exec"})

PICKLES = "calls/pickled.py"
"""The one file that may pickle: calls of an executor, and what comes of them."""
OPENS_CALLS = frozenset({"calls.interpreter", "calls.settling", "executor"})
"""Who may use it: the two ends. What lies between them, the Hub above all, moves texts."""

SLEEPERS = {
    "client/patience.py": "the back-off before a request is sent again",
    "hub/callbacks.py": "the back-off before a callback is called again, and the gap between two",
    "hub/quarantine.py": "the rest between two pieces of a look through the log",
    "monitor/reporter.py": "the time between two samples, and the back-off",
    "relay/lifetime.py": "the time that a relay was given, or may have nothing to do",
    "relay/process.py": "the back-off before the next try to join",
    "relay/reports.py": "the back-off before a report is sent again",
    "transport/tls_listener.py": "the time after which a process may have a file to open again",
    "testing/sim/world.py": "virtual time, which passes in no time",
}
"""Where sleeping is allowed: it waits out a time that was chosen, and then acts; it never looks."""

IMPURE = re.compile(
    r"\bstd::(env|fs|net|os|process|thread|time)\b"
    r"|\bstd::io::(?!Write as _)"
    r"|\b(getrandom|fastrand|libc|pyo3|rand|tokio)::"
    r"|\b(Instant|RandomState|SystemTime)\b"
    r"|\b(static mut|unsafe)\b"
    r"|\be?print(ln)?!"
)
PURE_DEPENDENCIES = frozenset(
    {"blake3", "foldhash", "hashbrown", "itoa", "rmp", "roaring", "serde", "serde_json"}
)


def sources(folder: Path, suffix: str) -> list[Path]:
    """All files of a kind, build outputs and environments left out."""
    found = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return sorted(path for path in found if not {"target", ".venv"} & set(path.parts))


PYTHON_FILES = sources(PACKAGE, ".py")


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """`python/hpc/hub/turn.py` is `hub.turn`, `python/hpc/__init__.py` is the empty name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in PYTHON_FILES} | {"_core"}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a file imports, also inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}:{node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def calls(path: Path) -> Iterator[ast.Call]:
    """All calls in a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node


def own_imports() -> Iterator[tuple[Path, str, int, str]]:
    """File, its unit, line and imported module, of all imports of this package within it."""
    for path in PYTHON_FILES:
        unit = module_of(path).partition(".")[0]
        for line, name in imports(path):
            first, _, rest = name.partition(".")
            if first == "hpc":
                yield path, unit, line, rest if rest in MODULES else rest.rpartition(".")[0]


def test_every_unit_has_its_level() -> None:
    """A new package must be placed before it is imported, or the direction means nothing."""
    units = {module.partition(".")[0] for module in MODULES}
    assert units <= set(LEVEL_OF), f"without a level: {units - set(LEVEL_OF)}"


def test_imports_point_one_way() -> None:
    """From cli over hub, relay, client to domain and _core: so no part needs the whole."""
    wrong = [
        f"{shown(path)}:{line}: `{unit}` imports `{target}`"
        for path, unit, line, target in own_imports()
        if (other := target.partition(".")[0]) != unit and LEVEL_OF[other] >= LEVEL_OF[unit]
    ]
    assert not wrong


def test_plugins_are_found_and_not_imported() -> None:
    """Another package can bring a storage, transport, namespace or handler that replaces ours.

    What tries out the files of our log on bad disks is about that log.
    """
    wrong = []
    for path, unit, line, target in own_imports():
        other, _, rest = target.partition(".")
        is_client_half = other == "transport" and rest in CLIENT_HALF
        is_disk = target.startswith("storage.sqlite") and "/testing/disk/" in shown(path)
        if other in PLUGINS and other != unit and not (is_client_half or is_disk):
            wrong.append(f"{shown(path)}:{line}: imports `{target}`")
    assert not wrong


def test_the_client_half_of_the_transport_knows_nothing_of_the_serving_half() -> None:
    """A command that sends one request must not load a web server."""
    wrong = [
        f"{shown(path)}:{line}: imports `{target}`"
        for path, unit, line, target in own_imports()
        if unit == "transport" and path.stem in CLIENT_HALF
        if target.startswith("transport.") and target.partition(".")[2] not in CLIENT_HALF
    ]
    assert not wrong


def test_the_hub_runs_without_knowing_any_plugin() -> None:
    """What is imported is what counts: also by a function's import, or through another module."""
    program = (
        "import importlib, pkgutil, sys, hpc.hub\n"
        "for found in pkgutil.iter_modules(hpc.hub.__path__):\n"
        "    importlib.import_module('hpc.hub.' + found.name)\n"
        "print(*sorted(name for name in sys.modules if name.startswith('hpc.')))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    loaded = {name.split(".")[1] for name in ran.stdout.split()}
    assert "hub" in loaded
    assert not loaded & (PLUGINS | {"cli", "client", "monitor", "relay", "plugins"})


def test_bytes_are_never_run() -> None:
    """What comes from a wire or a disk is decoded as data; nothing in it can become code."""
    wrong = [
        f"{shown(path)}:{line}: imports `{name}`"
        for path in PYTHON_FILES
        for line, name in imports(path)
        if name.partition(".")[0] in NEVER_IMPORTED
        if (path.relative_to(PACKAGE).as_posix(), name) != (PICKLES, "pickle")
    ]
    wrong += [
        f"{shown(path)}:{call.lineno}: calls `{call.func.id}`"
        for path in PYTHON_FILES
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id in NEVER_CALLED
    ]
    assert not wrong


def test_only_the_two_ends_of_a_call_open_it() -> None:
    """Neither the Hub nor a relay nor a worker runs what a call's bytes say."""
    users = {module_of(path) for path, _, _, target in own_imports() if target == "calls.pickled"}
    assert users == OPENS_CALLS


def test_nothing_sleeps_to_find_out() -> None:
    """News come by a held request, a poke or a file descriptor; a sleep would be late and busy."""
    found: dict[str, list[int]] = {}
    for path in PYTHON_FILES:
        for call in calls(path):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if name == "sleep":
                found.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(call.lineno)
    surprising = {name: lines for name, lines in found.items() if name not in SLEEPERS}
    assert not surprising, "say in SLEEPERS which chosen time is waited out, or wait for the event"
    assert set(SLEEPERS) == set(found), "an entry of SLEEPERS is not needed any more"


def test_no_rust_thread_sleeps() -> None:
    """The supervisor waits in epoll; its timers are timeouts of that wait."""
    wrong = [
        shown(path)
        for path in sources(RUST, ".rs")
        if "src" in path.parts and re.search(r"\bsleep(_ms|_until)?\(", path.read_text("utf-8"))
    ]
    assert not wrong


def test_the_pure_crate_is_pure() -> None:
    """Time, ids and bytes come in as arguments: the same inputs always give the same log."""
    wrong = []
    for path in sources(PURE / "src", ".rs"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            code = re.sub(r'"(\\.|[^"\\])*"', '""', line).partition("//")[0]
            if found := IMPURE.search(code):
                wrong.append(f"{shown(path)}:{number}: `{found[0]}`")
    assert not wrong


def test_the_pure_crate_depends_on_nothing_impure() -> None:
    """A dependency can read a clock as well as a line of ours can."""
    manifest = tomllib.loads((PURE / "Cargo.toml").read_text("utf-8"))
    assert set(manifest["dependencies"]) <= PURE_DEPENDENCIES
    assert "build-dependencies" not in manifest
    assert "#![forbid(unsafe_code)]" in (PURE / "src" / "lib.rs").read_text("utf-8")


def test_every_file_says_what_it_is() -> None:
    """A stranger opens files one at a time; each must stand on its own."""
    silent = [
        shown(path)
        for folder in ("python", "tests", "bench", "examples")
        for path in sources(ROOT / folder, ".py")
        if not ast.get_docstring(tree(path))
    ]
    silent += [
        shown(path)
        for path in sources(RUST, ".rs")
        if not path.read_text("utf-8").startswith("//!")
    ]
    assert not silent
