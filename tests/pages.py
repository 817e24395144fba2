"""The documents, run: what stands in a fenced block is done, against a Hub with relays.

A page is read from top to bottom, in a folder and with a Hub of its own. Of its blocks

- one without a language is commands for a shell, which must end with 0;
- `console` is commands behind `$ ` with what they print;
- `python` is a program, which must end with 0 and print the `text` block after it, if there is one;
- `json` and `python` after a file's name, the last thing in backquotes, are that file;
- `json` right after commands is what the last of them answers, of which the keys are compared;
- `json` else, `text` without a program, and any other language are read by people alone.

A block after a line `*Not run by the tests: REASON.*` is not run; that its commands parse is seen
to by tests/unit/test_docs.py. In what is printed `…` stands for anything, a line of it for lines;
ids, times and ports may differ, and so may places in the log.

What a page calls without showing it is made: programs named `./fit.sh` or `fit.py` print what they
were called with, and files named `a.txt` have a few lines. Parts (`hpc hub`, `hpc relay`, ...) and
what follows for ever run beside the rest of their block, from their first line on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hpc.access import read_access
from hpc.testing.processes import Cluster

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"^\*Not run by the tests: ([^*]+)\.\*$")
FILE = {
    "json": re.compile(r"`([\w.-]+\.json)`[^`]*$"),
    "python": re.compile(r"`([\w.-]+\.py)`:$"),
}
"""By language, what makes the text before a block name the file that it is."""
BLOCK_S_MAX = 60
RELAY = ["relay", "--ns", "batch", "--ns", "calls", "--memory", "64G"]
ON_N1 = ["--gpus", "0,1", "--resource", "fpgas=range(0-3)", "--label", "zone=b"]

PRELUDE = r"""
parts=()
serve() {  # a part, or what follows for ever: beside the rest, once it has said something
  exec {out}< <(exec env --default-signal=INT,HUP hpc "$@" 2>>"$PAGE_STDERR")
  parts+=($!)
  for ((n = 0; n < ${PAGE_LINES:-1}; n++)); do
    IFS= read -r -t 40 -u "$out" line || { cat "$PAGE_STDERR" >&2; return 1; }
    echo "$line"
  done
}
end() {
  for ((n = ${#parts[@]} - 1; n >= 0; n--)); do
    kill "${parts[n]}" 2>/dev/null || true
    wait "${parts[n]}" || true
  done
}
trap end EXIT
hpc() {
  local words=" $* "
  case "$words" in
    *" --help "* | *" --print-unit "*) command hpc "$@" ;;
    " hub "* | " up "*)
      export HPC_HOME=$PAGE_HOME.$RANDOM
      [[ $words == *" --port "* ]] || set -- "$@" --port 0
      serve "$@" ;;
    " relay "*)
      [[ $words == *" --node-id "* ]] || set -- "$@" --node-id "r$RANDOM"
      serve "$@" ;;
    " monitor "* | *" --follow "*) serve "$@" ;;
    *) command hpc "$@" ;;
  esac
}
"""

BUILDS = re.compile(r"^(?:\./demo\.sh|make |pip install ).*\n", re.MULTILINE)
"""What sets up the project: `.ci/run` and test_demo.py do that."""

LINES = {"commands.txt": "echo one\necho two\n", "files.txt": "a.txt\nb.txt\n"}
"""Of files that a page names; of all others a few words."""


class Block(NamedTuple):
    """A fenced block, the text between it and the one before, and why it is not run, or None."""

    language: str
    text: str
    before: str
    not_run: str | None


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in their order."""
    text, end = page.read_text("utf-8"), 0
    for found in FENCE.finditer(text):
        before = text[end : found.start()].rstrip()
        reason = NOT_RUN.match(before.rpartition("\n")[2].strip())
        inner = "\n".join(line.removeprefix(found[1]) for line in found[3].splitlines())
        yield Block(found[2], inner + "\n", before, reason[1] if reason else None)
        end = found.end()


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Each command of a `console` block with what it prints."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        while command.endswith("\\"):
            more, _, printed = printed.partition("\n")
            command += "\n" + more
        yield command, printed


def normal(printed: str) -> str:
    """What is printed, without what differs from run to run."""
    printed = re.sub(r"[ \t]+\n", "\n", re.sub(r"(?<=\S) {2,}", "  ", printed)).strip()
    printed = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID", printed)
    printed = re.sub(r"\b[0-9a-f]{32}\b", "ID", printed)
    printed = re.sub(r" at 0x[0-9a-f]+", "", printed)
    printed = re.sub(r"\d+  \d{4}-\d\d-\d\dT[\d:.]+Z", "SEQ  TIME", printed)
    printed = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", printed)
    printed = re.sub(r"\b127\.0\.0\.1:\d+", "127.0.0.1:PORT", printed)
    return re.sub(r'(recorded as |"cursor": )\d+', r"\g<1>0", printed)


def with_sorted_keys(printed: str) -> str:
    """JSON with its keys in order: the columns of a row come in none that one should count on."""
    try:
        return json.dumps(json.loads(printed), sort_keys=True)
    except ValueError:
        return printed


def is_as_shown(printed: str, shown: str) -> bool:
    """Whether it was printed as the page has it, `…` for anything."""
    if "…" not in shown:
        shown, printed = with_sorted_keys(shown), with_sorted_keys(printed)
    pattern = "".join(
        "(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n"
        for line in normal(shown).splitlines()
    )
    lines = "".join(f"{line}\n" for line in normal(printed).splitlines())
    return re.fullmatch(pattern, lines) is not None


def answers(printed: str) -> dict[str, Any]:
    """The JSON that the last line of what was printed is."""
    answer: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return answer


def make_what_it_names(text: str, folder: Path) -> None:
    """Programs and files that a block uses and nobody has made."""
    for name in re.findall(r"(?<![\w/.])\./([\w.-]+)", text):
        _write(folder / name, '#!/bin/sh\necho "$0 $*"\n')
    for name in re.findall(r"(?<![\w/.])([\w-]+\.py)\b", text):
        _write(folder / name, "import sys\nprint(*sys.argv)\n")
    for name in re.findall(r"(?<![\w/.{}])([\w-]+\.(?:txt|csv))\b", text):
        _write(folder / name, LINES.get(name, "one\ntwo\n"))


def _write(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text)
        path.chmod(0o755)


class Runner:
    """One page, its folder and its cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        access = read_access(cluster.home)
        self.env = cluster.env | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "HUB": access.url,
            "TOKEN": access.token,
            "PAGE_HOME": str(cluster.home),
            "PAGE_STDERR": str(cluster.folder / "parts.log"),
        }
        self.env.pop("HPC_DEMO_TEXT", None)
        # What somebody has who has set nothing: in units, for one, it would be shown.
        del self.env["HPC_CONFIG"]
        self.env["XDG_CONFIG_HOME"] = str(cluster.folder / "config")
        self.done = 0

    def page(self, page: Path) -> None:
        """Do what it says, from top to bottom."""
        program: str | None = None
        printed = ""
        for block in blocks(page):
            if block.language == "json" and printed and not block.before:
                assert answers(printed).keys() == json.loads(block.text).keys(), printed
            printed = ""
            named = FILE[block.language].search(block.before) if block.language in FILE else None
            if block.language == "text" and program is not None:
                self._program(program, block.text)
                program = None
                continue
            if program is not None:
                self._program(program, None)
                program = None
            if block.not_run is not None:
                continue
            if named:
                (self.folder / named[1]).write_text(block.text)
            elif block.language == "python":
                program = block.text
            elif block.language == "console":
                self._console(block.text)
            elif block.language == "":
                printed = self._script(block.text)
        if program is not None:
            self._program(program, None)

    def _program(self, text: str, shown: str | None) -> None:
        (self.folder / "program.py").write_text(text)
        code, printed = self._run([sys.executable, "program.py"])
        assert code == 0, f"{text}\n{printed}"
        assert shown is None or is_as_shown(printed, shown), f"{text}\nprinted\n{printed}"

    def _script(self, text: str) -> str:
        text = BUILDS.sub("", text)
        make_what_it_names(text, self.folder)
        code, printed = self._run(["bash", "-c", f"{PRELUDE}set -e\n{text}"])
        assert code == 0, f"{text}\nended with {code}\n{printed}"
        return printed

    def _console(self, text: str) -> None:
        for command, shown in commands(text):
            if BUILDS.match(command + "\n"):
                continue
            make_what_it_names(command, self.folder)
            lines = str(len(shown.splitlines()))
            _, printed = self._run(["bash", "-c", PRELUDE + command], PAGE_LINES=lines)
            assert is_as_shown(printed, shown), f"$ {command}\nprinted\n{printed}"

    def _run(self, words: list[str], **env: str) -> tuple[int, str]:
        """What comes of a command: its exit code, and what it prints on either stream."""
        self.done += 1
        ran = subprocess.run(
            words,
            cwd=self.folder,
            env=self.env | env | {"PWD": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=BLOCK_S_MAX,
        )
        return ran.returncode, ran.stdout


def run(page: Path, folder: Path) -> None:
    """Run a page; something must have been run."""
    with Cluster(folder, lease_s=30) as cluster:
        cluster.start(*RELAY, "--node-id", "n1", "--cpus", "4", *ON_N1)
        cluster.start(*RELAY, "--node-id", "n2", "--cpus", "4")
        cluster.start("monitor", "--node-id", "n1")
        runner = Runner(cluster, folder / "work")
        runner.page(page)
        assert runner.done


def with_something_to_run(folder: Path) -> list[Path]:
    """The pages of a folder of which something is run."""
    return [
        page
        for page in sorted(folder.glob("*.md"))
        if any(b.language in {"", "console", "python"} and b.not_run is None for b in blocks(page))
    ]
