"""W3C Trace Context: what is continued, what begins anew, what is handed on."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toque.call.trace import Trace

T, P = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_call_without_a_header_begins_a_story() -> None:
    trace = Trace.incoming(None)

    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace.traceparent())
    assert trace.parent_id == ""
    assert trace.trace_id != Trace.incoming(None).trace_id


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_a_valid_header_is_continued_under_a_new_span(flags: str) -> None:
    trace = Trace.incoming(f"00-{T}-{P}-{flags}")

    assert (trace.trace_id, trace.parent_id) == (T, P)
    assert trace.span_id not in ("", P)
    assert trace.is_sampled is (flags != "00")


@pytest.mark.parametrize("header", [f"01-{T}-{P}-01", f"cc-{T}-{P}-01-what-the-future-will-bring", f"fe-{T}-{P}-00-"])
def test_a_future_version_is_read_as_far_as_it_is_known(header: str) -> None:
    trace = Trace.incoming(header)

    assert (trace.trace_id, trace.parent_id) == (T, P)
    assert trace.traceparent().startswith("00-")


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"ff-{T}-{P}-01",
        f"00-{T}-{P}-01-more",
        f"00-{T}-{P}-01-",
        f"cc-{T}-{P}-01.more",
        f"00-{T.upper()}-{P}-01",
        f"00-{'0' * 32}-{P}-01",
        f"00-{T}-{'0' * 16}-01",
        f"00-{T[1:]}-{P}-01",
        f"00-{T}-{P}",
        f"00-{T}-{P}-1",
        f"00-{T}-{P}-0g",
        f"0-{T}-{P}-01",
        f"00_{T}_{P}_01",
        f"00-{T}-{P}-01\n",
        f" 00-{T}-{P}-01",
        f"cc-{T}-{P}-01-" + "x" * 100_000,
        f"00-{T[:-1]}\u0661-{P}-01",
    ],
)
def test_an_invalid_header_begins_a_new_story(header: str) -> None:
    trace = Trace.incoming(header)

    assert trace.trace_id != T
    assert trace.parent_id == ""


def test_the_ids_of_a_call_stay_once_they_are_seen() -> None:
    trace = Trace.incoming(None)

    assert (trace.trace_id, trace.traceparent()) == (trace.trace_id, trace.traceparent())
    with pytest.raises(AttributeError):
        trace.trace_id = T  # type: ignore[misc]


def test_a_child_is_a_new_span_of_the_same_story() -> None:
    trace = Trace.incoming(f"00-{T}-{P}-00")
    child = trace.child()

    assert (child.trace_id, child.parent_id, child.is_sampled) == (T, trace.span_id, False)
    assert child.span_id != trace.span_id


@given(st.text(max_size=80))
def test_no_header_breaks_a_call(header: str) -> None:
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", Trace.incoming(header).traceparent())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are not forked here")
def test_a_forked_worker_does_not_repeat_the_ids_of_its_parent() -> None:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(theirs, Trace.incoming(None).trace_id.encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(ours, 32).decode() != Trace.incoming(None).trace_id
    os.close(ours)
    os.close(theirs)
