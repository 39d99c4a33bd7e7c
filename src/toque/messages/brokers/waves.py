"""A batch in waves, so that a failure in its middle cannot turn the order of a key around."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from toque.messages.brokers.broker import Message

__all__ = ["waves"]


def waves(messages: Sequence[Message]) -> list[list[Message]]:
    """*messages* in groups, each to be sent when the one before it is confirmed, with no key twice in a group.

    If two messages of a key were on their way at once, the first could fail and the second be kept: sent again, the
    first would stand behind the second.
    """
    before: Counter[tuple[str, str]] = Counter()
    found: defaultdict[int, list[Message]] = defaultdict(list)
    for message in messages:
        place = (message.topic, message.key)
        found[before[place]].append(message)
        if message.key:
            before[place] += 1
    return [found[number] for number in sorted(found)]
