"""Steps: reached in the order of the program, and a step that is not there is no step."""

from __future__ import annotations

import subprocess
import sys

import pytest

from toque.testing.faults import JOBS, MESSAGES, STORE, Step
from toque.testing.faults.steps import arm

PROGRAM = """
import asyncio
import stepped
from stepped import plain
from toque.testing.faults.steps import Step, arm

reached = []
arm(
    [
        Step("before plain", "stepped:plain", "before"),
        Step("after plain", "stepped:plain", "after"),
        Step("before wait", "stepped:Walker.wait", "before"),
        Step("after wait", "stepped:Walker.wait", "after"),
    ],
    reached.append,
)
assert plain(1) == stepped.plain(1) == 2
assert reached == ["before plain", "after plain"] * 2
assert asyncio.run(stepped.Walker().wait(reached)) == "waited"
assert reached[4:] == ["before wait", "inside", "after wait"]
try:
    asyncio.run(stepped.Walker().wait(None))
except AttributeError:
    pass
assert reached[7:] == ["before wait"], "what raises has not ended"
print("done")
"""

STEPPED = """
class Walker:
    count = 0

    async def wait(self, reached):
        reached.append("inside")
        return "waited"


def plain(number):
    return number + 1
"""


def test_a_step_is_reached_before_and_after_its_function(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "stepped.py").write_text(STEPPED)
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("toque.store.replies:Replies.clain", "Replies has no clain; did you mean claim?"),
        ("toque.store.replies:Reply.claim", "toque.store.replies has no Reply; did you mean Replies?"),
        ("toque.store.replies:KEPT_S", "has to be a function of its own"),
    ],
)
def test_a_step_that_is_not_there_is_refused(target: str, words: str) -> None:
    with pytest.raises(LookupError, match=words.replace("?", r"\?")):
        arm([Step("lost", target, "before")], lambda name: None)


def test_every_step_is_there() -> None:
    # In a process of its own: what is armed stays armed.
    program = (
        "from toque.testing.faults.steps import JOBS, MESSAGES, STORE, arm; arm((*STORE, *MESSAGES, *JOBS), print)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    steps = (*STORE, *MESSAGES, *JOBS)
    assert len({step.name for step in steps}) == len(steps)
