"""A promise is kept by its rules: without any one of them some seed finds that it is broken."""

from __future__ import annotations

import pytest
from removed import REMOVED, Removed, found


@pytest.mark.soak
@pytest.mark.parametrize("removed", REMOVED, ids=lambda removed: f"{removed.rule}, {removed.database}")
def test_it_is_missed(removed: Removed) -> None:
    assert found(removed) is not None


@pytest.mark.parametrize("removed", REMOVED, ids=lambda removed: f"{removed.rule}, {removed.database}")
def test_it_is_there_to_be_taken_away(removed: Removed) -> None:
    text = removed.path.read_text()

    assert [old for old, _ in removed.edits if text.count(old) != 1] == []
