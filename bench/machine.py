"""What the operating system tells and grants: cores, ports, a process tree's CPU time and memory.

Source: proc(5). CPU time is utime + stime of every process of a tree, with that of its ended children, in
clock ticks of 10 ms: over a window of a second the error stays below 2 % of a core. Memory is PSS, where a
page shared by n processes counts for 1/n.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")

# Places in /proc/PID/stat behind the closing parenthesis of the command's name.
PARENT, USER, SYSTEM, ENDED_CHILDREN_USER, ENDED_CHILDREN_SYSTEM = 1, 11, 12, 13, 14


@dataclass(frozen=True)
class Cores:
    """Who runs where: the contender has a core alone; of two cores, load and database share the other."""

    server: int
    load: int
    database: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        allowed = sorted(os.sched_getaffinity(0))
        return cls(server=allowed[0], load=allowed[1 % len(allowed)], database=allowed[min(2, len(allowed) - 1)])


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Run on *core* for a while: a process started inside stays there, with all that it starts. None: anywhere."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if core is None else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(root: int) -> float:
    """CPU time that the process *root* and everything below it has used so far."""
    stats = (stat(pid) for pid in tree(root))
    counted = (USER, SYSTEM, ENDED_CHILDREN_USER, ENDED_CHILDREN_SYSTEM)
    return sum(int(fields[place]) for fields in stats if fields for place in counted) / TICKS_PER_S


def memory_mb(pid: int) -> float:
    """PSS of one process in MB of 10^6 bytes."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return 0.0
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))


def tree(root: int) -> list[int]:
    """The process *root* and its living descendants, parents first."""
    children: dict[int, list[int]] = {}
    for pid in (int(path.name) for path in PROC.iterdir() if path.name.isdigit()):
        if fields := stat(pid):
            children.setdefault(int(fields[PARENT]), []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, or nothing if the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def description() -> str:
    """One line about this machine, for the head of the table."""
    models = [line.partition(": ")[2] for line in cpuinfo() if line.startswith("model name")]
    cpu, system = (models or [platform.machine()])[0], f"{platform.system()} {platform.release()}"
    return f"{cpu}, {os.cpu_count()} cores, {system}, Python {platform.python_version()}"


def cpuinfo() -> list[str]:
    try:
        return (PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        return []
