"""`hpc completion`: what each shell offers, by the shell itself, and ids of a Hub that runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run
from commands import succeed as hpc

from hpc.states import STATES
from hpc.testing.processes import Cluster

BASH = """
compopt() { no_files=1; }
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hpc; printf '%s\\n' "${COMPREPLY[@]}"
[[ $no_files ]] || compgen -f -- "${COMP_WORDS[COMP_CWORD]}"
"""
ZSH = """
compdef() { :; }
compset() { :; }
_files() { print -rl -- *(N); }
compadd() { shift; print -rl -- "$@"; }
source "$1"; shift
_hpc "$@"
"""
FISH = 'source $argv[1]; complete -C "$argv[2]"'


class Shell:
    """One that has read its script, with `hpc` in its path."""

    def __init__(self, name: str, folder: Path, cluster: Cluster) -> None:
        self.name = name
        self.script = folder / f"hpc.{name}"
        self.script.write_text(hpc(cluster, "completion", name).stdout)
        binary = folder / "bin" / "hpc"
        binary.parent.mkdir()
        binary.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpc "$@"\n')
        binary.chmod(0o755)
        self.env = {**os.environ, **cluster.env, "PATH": f"{binary.parent}:{os.environ['PATH']}"}
        self.env["HOME"] = str(folder)
        self.folder = folder / "here"
        self.folder.mkdir()
        (self.folder / "fit.toml").touch()

    def offers(self, *words: str) -> list[str]:
        """What a TAB behind these words offers that begins with the last one."""
        script = str(self.script)
        # bash takes a flag with its value for three words.
        split = [part for word in words for part in re.split("(=)", word)]
        if words[-1].endswith("="):
            split.pop()
        command = {
            "bash": ["bash", "--norc", "-c", BASH, "bash", script, "hpc", *split],
            "zsh": ["zsh", "-f", "-c", ZSH, "zsh", script, "hpc", *words],
            "fish": ["fish", "--no-config", "-c", FISH, script, " ".join(["hpc", *words])],
        }[self.name]
        done = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        flag, sign, begun = words[-1].rpartition("=")
        found = [line.split("\t")[0] for line in done.stdout.splitlines()]
        found = [one.removeprefix(flag + sign) for one in found]
        return sorted(one for one in found if one.startswith(begun) and one)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_shell_offers_commands_flags_and_ids(name: str, cluster: Cluster, tmp_path: Path) -> None:
    """Those that fit the command, and what its argument or the flag before it names."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    client = cluster.client()
    client.submit("true", key="fit-1", name="nightly", hold=True)
    client.submit("true", key="fit-2", hold=True)
    shell = Shell(name, tmp_path, cluster)
    assert shell.offers("jo") == ["job"]
    assert shell.offers("job", "in") == ["info"]
    assert shell.offers("job", "list", "--sta") == ["--state"]
    assert shell.offers("job", "list", "--state", "f") == ["failed"]
    assert shell.offers("job", "cancel", "fit") == ["fit-1", "fit-2"]
    assert shell.offers("job", "log", "nig") == ["nightly"]
    assert shell.offers("submit", "--after", "fit") == ["fit-1", "fit-2"]
    assert shell.offers("submit", "--ns", "b") == ["batch"]
    assert "monitor" in shell.offers("pull", "mon")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_value_is_offered_what_its_flag_takes(
    name: str, cluster: Cluster, tmp_path: Path
) -> None:
    """Words, files, or nothing; never the ids that the command's argument stands for."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    cluster.client().submit("true", key="fit-1", hold=True)
    shell = Shell(name, tmp_path, cluster)
    assert shell.offers("job", "list", "--state=f") == ["failed"]
    assert len(shell.offers("job", "list", "--state=")) == len(STATES)
    assert shell.offers("job", "list", "--ns", "b") == ["batch"]
    assert shell.offers("job", "log", "--stream", "std") == ["stderr", "stdout"]
    assert shell.offers("token", "create", "--role", "a") == ["admin"]
    assert shell.offers("completion", "z") == ["zsh"]
    for words in (("log", "fit-1", "--task"), ("log", "-n"), ("cancel", "--reason")):
        assert shell.offers("job", *words, "f") == []
    assert shell.offers("job", "log", "--json", "fi") == ["fit-1"]
    assert shell.offers("hub", "--tls-cert", "fi") == ["fit.toml"]
    assert shell.offers("ns", "register", "fi") == ["fit.toml"]
    assert shell.offers("run", "--", "fi") == ["fit.toml"]
    assert shell.offers("run", "--", "job") == []
    assert shell.offers("status", "f") == []


def test_without_a_hub_a_tab_says_nothing(cluster: Cluster) -> None:
    """And it does not wait for one."""
    assert cluster.hub is not None
    cluster.hub.kill()
    done = run(cluster, "completion", "--of", "jobs")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_shell_is_refused_with_those_that_there_are(cluster: Cluster) -> None:
    """As is another kind of id."""
    done = run(cluster, "completion", "tcsh")
    assert done.returncode == 2
    assert "must be one of bash, zsh, fish, got 'tcsh'" in done.stderr
    assert run(cluster, "completion", "--of", "cats").returncode == 2
