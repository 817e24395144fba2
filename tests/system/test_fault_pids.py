"""A pid that has become another process's: nobody's is ended in the place of a task's.

In a pid namespace of its own the test says which pid comes next, so that it is used again at once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]
CAN_SAY = (
    os.geteuid() == 0
    and shutil.which("unshare") is not None
    and Path("/proc/sys/kernel/ns_last_pid").exists()
)

# A task is left behind by all who could have ended it; its pid, and that of every process of the
# relay, is then another's. The next start must sweep what is there, and no more.
SCRIPT = """
import asyncio, os, signal, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from executor_kit import is_alive, relay, shell, until

folder = Path(sys.argv[1])
OWNER = '''
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from executor_kit import relay, shell
async def main():
    async with relay(Path(sys.argv[1]) / "n1") as taken:
        script = "setsid sleep 600 & echo $$ $! > new; mv new pids; wait"
        taken.link.run([shell(script, cwd=sys.argv[1])])
        await taken.has_started()
        print(taken.link.pid, taken.link.guard_pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
'''

def as_pid(pid):
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    assert other.pid == pid, (other.pid, pid)
    return other

async def main():
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *sys.argv[1:]], stdout=subprocess.PIPE)
    ours = [owner.pid, *map(int, owner.stdout.readline().split())]
    await until((folder / "pids").exists, "the task runs")
    task, child = map(int, (folder / "pids").read_text().split())
    for pid in ours:
        os.kill(pid, signal.SIGSTOP)
    for pid in ours:
        os.kill(pid, signal.SIGKILL)
    owner.wait()
    # We are process 1's child: what is orphaned is reaped by it, who is this script's parent.
    for pid in [*ours, task]:
        await until(lambda: not Path(f"/proc/{pid}").exists(), f"{pid} is gone")
    assert is_alive(child)
    others = [as_pid(pid) for pid in [*ours, task]]
    async with relay(folder / "n1", session="s2") as taken:
        assert not is_alive(child)
        assert taken.link.swept == 1
    assert [other.poll() for other in others] == [None] * len(others)
    for other in others:
        other.kill()
    print("held")

asyncio.run(main())
"""

# Process 1 of the namespace: it reaps whoever is left to it, and ends with the script.
INIT = """
import os, subprocess, sys
script = subprocess.Popen([sys.executable, *sys.argv[1:]])
while True:
    pid, status = os.wait()
    if pid == script.pid:
        os._exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not CAN_SAY, reason="a pid namespace needs root, `unshare` and ns_last_pid")
def test_fault_55_a_pid_that_is_used_again_is_not_ended(tmp_path: Path) -> None:
    """Relay, guard, supervisor and task are gone, and others have their pids: these live on."""
    program = tmp_path / "script.py"
    program.write_text(SCRIPT)
    here = str(Path(__file__).parent)
    ran = subprocess.run(
        [*UNSHARE, sys.executable, "-c", INIT, str(program), str(tmp_path), here],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout == "held\n", ran.stdout + ran.stderr
