"""`hpc report`: a page of what really ran."""

from __future__ import annotations

from pathlib import Path

from browsing import chromium
from commands import run
from commands import succeed as hpc

from hpc.testing.processes import Cluster


def test_a_report_tells_what_ran_failed_and_waited(cluster: Cluster, tmp_path: Path) -> None:
    """Of all jobs, or of those that were asked for."""
    cluster.relay("n1", cpus=2)
    client = cluster.client()
    first = client.submit("test $HPC_TASK_ID != 1", tasks="0-2", key="a", retries=1, memory=16)
    first.wait(60)
    client.submit("true", key="b", after_any=["a"], memory=16, name="<i>late").wait(60)
    file = tmp_path / "run.html"
    told = hpc(cluster, "report", "-o", str(file))
    assert told.stderr == f"wrote {file}: open it in a browser\n"
    text = file.read_text()
    assert text.startswith("<!doctype html>\n")
    assert text.endswith("</html>\n")
    assert text.count('<rect class="succeeded"') >= 3
    assert "task 1, attempt 2: exit" in text
    assert "<code>hpc job log a --task 1</code>" in text
    assert "&lt;i&gt;late" in text
    assert f"by hpc {hpc(cluster, '--version').stdout.split()[1]} of the whole log" in text
    only_b = hpc(cluster, "report", "-o", "-", "b").stdout
    assert "task 1, attempt 2" not in only_b
    assert "1 succeeded" in only_b


def test_a_report_that_cannot_be_written_says_so(cluster: Cluster, tmp_path: Path) -> None:
    """And where, and of no job at all there is one too."""
    assert "Nothing of this has run yet." in hpc(cluster, "report", "-o", "-").stdout
    done = run(cluster, "report", "-o", str(tmp_path / "no" / "run.html"))
    assert done.returncode == 1
    assert "run.html` cannot be written: No such file or directory\n" in done.stderr


def test_what_to_ask_for_next_time_is_never_cut(cluster: Cluster, tmp_path: Path) -> None:
    """On a narrow screen and a wide one, and on paper, where nothing can be scrolled."""
    cluster.relay("n1", cpus=2)
    file = tmp_path / "run.html"
    with chromium() as browser:
        job = cluster.client().submit("true", key="few", cpu=2, memory="1G", time_limit="1h")
        job.wait(60)
        hpc(cluster, "report", "-o", str(file))
        page = browser.new_page()
        page.goto(f"file://{file}")
        cell = page.locator("table.wide tbody td").last
        for media, wide in (("screen", 400), ("screen", 1280), ("print", 794)):
            page.emulate_media(media=media)
            page.set_viewport_size({"width": wide, "height": 800})
            assert "--cpu 1" in cell.inner_text() and "--time-limit 10s" in cell.inner_text()
            assert cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth")
            if media == "print":
                box = cell.bounding_box()
                assert box is not None and box["x"] + box["width"] <= wide
