"""What follows from an answer, as tables: the schedule, what disables an endpoint, what a receiver can ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toque.messages.webhooks.outcome import DELAYS_S, Health, Outcome, Verdict, after, next_try_s, verdict_of

DAY_S = 86_400.0
FAILED, THROTTLED = Outcome(Verdict.FAILED, 500), Outcome(Verdict.THROTTLED, 503)
DELIVERED, GONE = Outcome(Verdict.DELIVERED, 204), Outcome(Verdict.GONE, 410)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "delivered"), (201, "delivered"), (204, "delivered"), (299, "delivered"),
        (100, "failed"), (301, "failed"), (302, "failed"), (307, "failed"), (308, "failed"), (304, "failed"),
        (400, "failed"), (401, "failed"), (404, "failed"), (409, "failed"), (500, "failed"), (501, "failed"),
        (410, "gone"),
        (429, "throttled"), (502, "throttled"), (503, "throttled"), (504, "throttled"),
    ],
)  # fmt: skip
def test_each_status_means_what_the_standard_says(status: int, verdict: str) -> None:
    assert verdict_of(status) == verdict


def test_the_schedule_is_the_standards() -> None:
    """Its table: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, and so 75:35:05 in all."""
    delays = [next_try_s(tried, FAILED, chance=0.5) for tried in range(1, 11)]

    assert delays == [*map(float, DELAYS_S), None]
    assert sum(DELAYS_S) == 75 * 3600 + 35 * 60 + 5


@given(tried=st.integers(1, 9), chance=st.floats(0, 1))
def test_tries_that_failed_together_do_not_come_together_again(tried: int, chance: float) -> None:
    delay = next_try_s(tried, FAILED, chance=chance)

    assert delay is not None
    assert DELAYS_S[tried - 1] * 0.5 <= delay <= DELAYS_S[tried - 1] * 1.5


@pytest.mark.parametrize(("asked", "delay"), [(None, 5.0), (1.0, 5.0), (60.0, 60.0), (1e9, DAY_S)])
def test_a_receiver_can_ask_for_more_time_but_not_for_ever(asked: float | None, delay: float) -> None:
    outcome = Outcome(Verdict.THROTTLED, 429, retry_after_s=asked)

    assert next_try_s(1, outcome, chance=0.5) == delay


def test_nothing_is_tried_again_at_an_endpoint_that_is_gone() -> None:
    assert next_try_s(1, GONE) is None


def _after(health: Health, outcome: Outcome, now: float) -> tuple[Health, str]:
    return after(health, outcome, now, pause_s=20, failing_s_max=5 * DAY_S)


def test_an_endpoint_that_is_gone_is_disabled_at_once() -> None:
    assert _after(Health(), GONE, 100.0)[1] == "it answered 410 Gone"


def test_an_endpoint_is_disabled_when_it_has_failed_for_days_and_not_before() -> None:
    first, why = _after(Health(), FAILED, 100.0)
    assert (first.failing_since, why) == (100.0, "")

    later, why = _after(first, FAILED, 100.0 + 5 * DAY_S - 1)
    assert (later.failing_since, why) == (100.0, "")

    assert _after(first, FAILED, 100.0 + 5 * DAY_S)[1] == "it has failed for 5.0 days"


def test_one_good_answer_makes_an_endpoint_healthy() -> None:
    health, _ = _after(Health(failing_since=1.0, paused_until=2.0), DELIVERED, 100.0)

    assert health == Health()
    assert _after(health, FAILED, 10 * DAY_S) == (Health(failing_since=10 * DAY_S), "")


def test_an_endpoint_that_throttles_is_left_alone_as_long_as_it_asks() -> None:
    assert _after(Health(), THROTTLED, 100.0)[0].paused_until == 120.0
    asking = Outcome(Verdict.THROTTLED, 429, retry_after_s=3600)
    assert _after(Health(), asking, 100.0)[0].paused_until == 3700.0
    assert _after(Health(paused_until=9000.0), asking, 100.0)[0].paused_until == 9000.0
    assert _after(Health(), Outcome(Verdict.THROTTLED, 429, retry_after_s=1e12), 0.0)[0].paused_until == DAY_S
    assert _after(Health(), FAILED, 100.0)[0].paused_until == 0.0
