"""A database with snapshots, as small as the protocol's argument needs it: transactions that commit in any order, a log
of what they changed that is as visible as they are, and crashes that empty it."""

from __future__ import annotations

from dataclasses import dataclass, field

from toque.cache.change import Change
from toque.cache.protocol import Seen
from toque.cache.snapshot import Snapshot

State = dict[int, tuple[str, int]]
"""Each row's group and value."""

Groups = tuple[str, ...]


def answer(state: State, groups: Groups) -> tuple[tuple[int, str, int], ...]:
    """What a query for all rows of *groups* answers."""
    return tuple((row, group, value) for row, (group, value) in sorted(state.items()) if group in groups)


@dataclass
class Writing:
    """A transaction under way."""

    xid: int
    rows: State = field(default_factory=dict)


class FakeMvcc:
    def __init__(self) -> None:
        self.states: list[State] = [{0: ("a", 0), 1: ("b", 0), 2: ("a", 0)}]
        """After each commit, in their order."""
        self.writing: dict[int, Writing] = {}
        self.next_xid = 1
        self.committed: set[int] = set()
        self.log: list[tuple[int, Change]] = []
        self.lost_xid = 0
        self.generation = 1

    @property
    def now(self) -> int:
        """The state that a snapshot taken now sees."""
        return len(self.states) - 1

    def snapshot(self) -> Snapshot:
        under_way = frozenset(self.writing)
        return Snapshot(min(under_way, default=self.next_xid), self.next_xid, under_way)

    def begin(self) -> Writing:
        writing = Writing(self.next_xid)
        self.writing[writing.xid] = writing
        self.next_xid += 1
        return writing

    def free_rows(self) -> list[int]:
        """Those that no transaction has locked."""
        locked = {row for writing in self.writing.values() for row in writing.rows}
        return [row for row in range(4) if row not in locked]

    def write(self, writing: Writing, row: int, group: str, value: int, *, old_image: bool = True) -> None:
        before = writing.rows.get(row) or self.states[-1].get(row)
        writing.rows[row] = (group, value)
        images = [{"group": group}]
        if before is not None and old_image:
            images.append({"group": before[0]})
        self.log.append((writing.xid, Change("rows", tuple(images), writing.xid)))

    def commit(self, writing: Writing) -> int:
        """The state from which on it is visible."""
        del self.writing[writing.xid]
        self.committed.add(writing.xid)
        self.states.append({**self.states[-1], **writing.rows})
        return self.now

    def abort(self, writing: Writing) -> None:
        del self.writing[writing.xid]

    def crash(self, *, elsewhere: bool) -> None:
        """What was committed is there again; who was under way is gone, and so is the log, which is not durable.
        *Elsewhere*, in another cluster, transactions are counted anew."""
        self.writing.clear()
        self.log.clear()
        self.generation += 1
        if elsewhere:
            self.committed.clear()
            self.next_xid, self.lost_xid = 1, 0

    def rotate(self) -> None:
        """Forget what the log has of transactions that have ended."""
        gone = [xid for xid, _ in self.log if xid not in self.writing]
        self.lost_xid = max([self.lost_xid, *gone])
        self.log = [(xid, change) for xid, change in self.log if xid in self.writing]

    def look(self, before: Snapshot | None, *, with_xip: bool = True, looks_back: bool = False) -> Seen:
        """What a look finds, as the statement in `postgres_changes.py` does."""
        found = []
        if before is None and looks_back:
            told = [change for xid, change in self.log if xid > self.lost_xid and xid in self.committed]
            since = Snapshot.up_to(self.lost_xid)
            return Seen(str(self.generation), self.snapshot(), tuple(told), since=since)
        if before is not None:
            xip = before.xip if with_xip else frozenset()
            found = [change for xid, change in self.log if (xid >= before.xmax or xid in xip) and xid in self.committed]
        is_gap = before is not None and before.xmin <= self.lost_xid
        return Seen(str(self.generation), self.snapshot(), tuple(found), is_gap)
