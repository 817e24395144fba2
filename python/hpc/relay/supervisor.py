"""The supervisor's process: `python -m hpc.relay.supervisor`, which enters `_core` and stays there.

Started by `supervisor_link`, never by hand. It imports next to nothing: what stands in its memory
is what every task's start must carry along, and no Python runs while it lives.
"""

import sys

from hpc._core import supervise


def main(arguments: list[str]) -> int:
    """Run a supervisor; the arguments are those that `supervisor_link` gives."""
    socket, folder, session, node_id, cpus, memory_mib, output_limit, cgroup, *more = arguments
    processes_max, keep_output_ms, output_quota = more
    try:
        supervise(
            int(socket),
            folder=folder,
            session=session,
            node_id=node_id,
            cpus=[int(cpu) for cpu in cpus.split(",")],
            memory_mib=int(memory_mib),
            output_limit=int(output_limit),
            cgroup=cgroup,
            processes_max=int(processes_max),
            keep_output_ms=int(keep_output_ms),
            output_quota=int(output_quota),
        )
    except OSError as error:
        print(f"supervisor of node {node_id}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
