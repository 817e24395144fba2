"""What a user says once: where it stands, what goes before what, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_hub import TOKEN, CannedHub, answer, job, sent

from hpc import settings
from hpc.access import Access, home, read_access, write_access
from hpc.cli import up
from hpc.cli.tree import main

Write = Callable[[str], Path]
Told = Callable[..., Any]


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Writes the file."""

    def to_file(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        monkeypatch.setenv("HPC_CONFIG", str(path))
        return path

    return to_file


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Told:
    """What `hpc config show --json` tells, by name: value, source, place."""

    def told(*more: str) -> dict[str, tuple[Any, str, str | None]]:
        assert main(["config", "show", "--json", *more]) == 0
        values = json.loads(capsys.readouterr().out.splitlines()[-1])["data"]["values"]
        return {each["name"]: (each["value"], each["source"], each["place"]) for each in values}

    return told


def test_the_file_is_named_by_three_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HPC_CONFIG, then XDG's, then the user's own; one that is named must be there."""
    monkeypatch.delenv("HPC_CONFIG")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert settings.path() == Path.home() / ".config" / "hpc" / "config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'hpc' / 'config.toml'}\n"
    assert settings.read() == {}, "without a file nothing is set"
    monkeypatch.setenv("HPC_CONFIG", str(tmp_path / "none.toml"))
    assert main(["job", "list"]) == 2
    assert "none.toml does not exist, which HPC_CONFIG names" in capsys.readouterr().err


def test_a_flag_goes_before_the_environment_that_before_the_file_and_that_before_the_access_file(
    hub: CannedHub,
    write: Write,
    shown: Told,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """In `config show` and in what commands do."""
    url = hub.url
    monkeypatch.delenv("HPC_HUB_URL")
    monkeypatch.delenv("HPC_TOKEN")
    write_access(tmp_path, Access("http://127.0.0.1:1", TOKEN))
    assert shown()["hub_url"] == (
        "http://127.0.0.1:1",
        "access file",
        str(tmp_path / "access.json"),
    )
    assert shown()["token"] == ("set", "access file", str(tmp_path / "access.json"))
    file = write('hub_url = "http://127.0.0.1:2"')
    assert shown()["hub_url"] == ("http://127.0.0.1:2", "file", str(file))
    assert main(["job", "list", f"--hub-url={url}"]) == 0
    monkeypatch.setenv("HPC_HUB_URL", url)
    assert shown()["hub_url"] == (url, "environment", "HPC_HUB_URL")
    assert main(["job", "list"]) == 0
    assert main(["job", "list", "--hub-url=http://127.0.0.1:3"]) == 3
    monkeypatch.setenv("HPC_HUB_URL", "")
    assert read_access(tmp_path).url == "http://127.0.0.1:1", "empty: the access file"
    assert shown()["hub_url"][:2] == ("http://127.0.0.1:1", "access file")
    (tmp_path / "access.json").unlink()
    (tmp_path / "access.json").mkdir()
    monkeypatch.setenv("HPC_HUB_URL", url)
    assert shown()["hub_url"][1] == "environment", "what cannot be read hides nothing"
    assert shown()["token"] == (None, "default", None)


def test_another_state_folder_has_another_hub(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that names a folder means the Hub of that folder."""
    monkeypatch.delenv("HPC_HUB_URL", raising=False)
    monkeypatch.delenv("HPC_HOME", raising=False)
    write(f'hub_url = "http://127.0.0.1:2"\nhome = "{tmp_path / "own"}"')
    write_access(tmp_path, Access("http://127.0.0.1:1", TOKEN))
    assert home() == tmp_path / "own"
    assert read_access(tmp_path).url == "http://127.0.0.1:1"
    assert read_access(home()).url == "http://127.0.0.1:2"
    monkeypatch.setenv("HPC_HOME", "")
    assert home() != tmp_path / "own", "a variable that is set to nothing hides the file"


def test_tokens_are_never_shown(
    hub: CannedHub, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is copied into a question to others must not open the Hub; nor does it stand there."""
    assert main(["config", "show", "--all"]) == 0
    out = capsys.readouterr().out
    assert TOKEN not in out
    assert "environment HPC_TOKEN" in out
    write('token = "secret"')
    assert main(["config", "show"]) == 2
    assert "hint: a token stands in the access file, or in HPC_TOKEN" in capsys.readouterr().err


def test_flags_of_a_command_have_their_defaults_there(
    hub: CannedHub, write: Write, shown: Told
) -> None:
    """A flag that is typed goes before, also one that may be given several times."""
    write('[submit]\ncpu = 2\nmemory = 512\ntime_limit = "90s"\nenv = {A = 1, B = "two"}')
    assert main(["submit", "--cpu=3", "--", "true"]) == 0
    spec = sent(hub)["spec"]
    assert (spec["cpu"], spec["memory"], spec["time_limit"]) == (3, 512, 90)
    assert {"A": "1", "B": "two"}.items() <= spec["env"].items()
    hub.asked.clear()
    assert main(["submit", "--env=C=3", "--", "true"]) == 0
    assert {"A", "B"}.isdisjoint(sent(hub)["spec"]["env"])
    told = shown("--all")
    assert told["submit.env"][:2] == (["A=1", "B=two"], "file")
    assert told["submit.ns"] == ("batch", "default", None)
    assert told["relay.grace"] == ("30s", "default", None)


def test_what_jobs_ask_for_holds_for_run_too(hub: CannedHub, write: Write) -> None:
    """Who runs and who submits asks for the same; the own table goes before."""
    write('[submit]\ncpu = 2\nmemory = "1G"\nwait = true\n[run]\ncpu = 4')
    assert main(["run", "--", "true"]) == 0
    spec = sent(hub)["spec"]
    assert (spec["cpu"], spec["memory"]) == (4, 1024)


def test_commands_below_a_noun_have_tables_of_their_own(
    hub: CannedHub, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also behind `hpc at`; an error is JSON where the output would be."""
    hub.routes["GET", "/jobs"] = answer({"cursor": 4, "data": [job()], "next": None})
    write("[job.list]\njson = true\n[job.wait]\ntimeout = 3")
    for words in (["job", "list"], ["at", "4", "job", "list"]):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["schema"] == "hpc.job.list/1"
    hub.stop_listening()
    assert main(["job", "list"]) == 3
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "no_hub"


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("hub_ulr = 'x'", "job list", "`hub_ulr` is no setting\n\nhint: did you mean `hub_url`?"),
        ("home = 5", "job list", "`home` must be a text, got 5"),
        ("[sumbit]", "job list", "`sumbit` is no setting\n\nhint: did you mean `submit`?"),
        ("[submit]\ncpuss = 1", "submit x", "`submit.cpuss` is no setting\n\nhint: did you mean"),
        ("[submit]\nwarp = 1", "submit x", "hint: its keys are the flags of `hpc submit`"),
        ("[submit]\nkey = 'k'", "submit x", "`submit.key` is no setting"),
        ("[submit]\ncpu = 'two'", "submit x", "`submit.cpu` must be a whole number, got 'two'"),
        ("[submit]\ncpu = true", "submit x", "`submit.cpu` must be a whole number, got True"),
        ("[submit]\nenv = 'A=1'", "submit x", "`submit.env` must be a list, got 'A=1'"),
        ("[submit]\nname = []", "submit x", "`submit.name` must be a text, got []"),
        ("[submit]\nhold = 1", "submit x", "`submit.hold` must be true or false, got 1"),
        ("[job]\nlist = 1", "job list", "`job.list` must be a table, got 1"),
        ("[job.lsit]", "config show", "`job.lsit` is no setting\n\nhint: did you mean `list`?"),
        ("[run]\ncuda = 1", "config show", "`run.cuda` is no setting"),
        ("[submit]\ncpu = =", "job list", "config.toml is no TOML: Invalid value (at line 2"),
        ("[submit]\ncpu = 0", "submit x", "`--cpu` must be in the range x>=1, got 0"),
        ("[submit]\nmemory = 'x'", "submit x", "\n  as `submit.memory` of "),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(
    hub: CannedHub,
    write: Write,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: str,
    said: str,
) -> None:
    """A setting that is not heeded is believed to be."""
    path = write(text)
    assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert said in told
    assert str(path) in told
    assert hub.asked == []


def test_hpc_up_says_where_commands_go_instead(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Else jobs go to another Hub than the one that was just started."""
    monkeypatch.setenv("HPC_HOME", str(tmp_path))
    monkeypatch.delenv("HPC_HUB_URL", raising=False)
    write_access(tmp_path, Access("http://127.0.0.1:1", TOKEN))
    up._say_how()
    assert capsys.readouterr().err == (
        "note: No Hub answers at http://127.0.0.1:1 (connection refused); the dashboard: hpc open\n"
    )
    path = write('hub_url = "http://127.0.0.1:2"')
    up._say_how()
    told = capsys.readouterr()
    assert told.out.startswith("up at http://127.0.0.1:1; ")
    assert f"warning: `hub_url` of {path} is http://127.0.0.1:2, " in told.err
    monkeypatch.setenv("HPC_HUB_URL", "http://127.0.0.1:3")
    up._say_how()
    assert "warning: HPC_HUB_URL is http://127.0.0.1:3, " in capsys.readouterr().err


def test_no_file_costs_no_module(tmp_path: Path) -> None:
    """Every command looks for it."""
    program = (
        "import sys; from hpc.cli.tree import main; main(['ns', '--help']); print(*sys.modules)"
    )
    env = {name: value for name, value in os.environ.items() if name != "HPC_CONFIG"}
    loaded = {}
    for name in ("none", "one"):
        folder = tmp_path / name / "hpc"
        folder.mkdir(parents=True)
        if name == "one":
            (folder / "config.toml").write_text("progress = false")
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env=env | {"XDG_CONFIG_HOME": str(folder.parent)},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        loaded[name] = set(ran.stdout.splitlines()[-1].split())
    assert "tomllib" not in loaded["none"]
    assert "tomllib" in loaded["one"]
    assert {"msgspec", "hpc.config"}.isdisjoint(loaded["one"])
