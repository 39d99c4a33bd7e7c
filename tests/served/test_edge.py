"""What reaches the server from anybody: each odd request has its defined answer, and none harms the next one.

Source: RFC 9110, RFC 9112 (sections 2.2, 3.2, 6 and 7), and our own table of raw-socket probes.
"""

from __future__ import annotations

import time

import pytest
from running import Served
from wire import Wire, ask, get, post

pytestmark = pytest.mark.xdist_group("served")

HOST = b"Host: localhost\r\n"
BODY = b'{"table":1}'
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""Of a WebSocket's handshake (RFC 6455, 1.3)."""
NEXT = get("/path/next")
"""What somebody might smuggle in behind another request."""


@pytest.fixture(autouse=True)
def alive(kitchen: Served) -> object:
    """After every test the same worker still answers, and nothing was logged as our failure."""
    workers, problems = kitchen.workers(), len(kitchen.problems_in_log())
    yield
    reply = ask(kitchen.port, get("/hello"))
    assert reply is not None
    assert reply.status == 200
    assert kitchen.workers() == workers
    assert kitchen.problems_in_log()[problems:] == []


# Hosts.


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /hello HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /hello HTTP/1.0\r\n\r\n", 400, "bad_request"),
        (b"GET /hello HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "bad_request"),
        (b"GET /hello HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n", 400, "bad_request"),
        (b"GET http://evil.example/hello HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET http://evil.example/hello HTTP/1.1\r\n\r\n", 421, "misdirected"),
        (b"GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "misdirected"),
        (b"GET /hello HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 421, "misdirected"),
        (b"GET /hello HTTP/1.1\r\nHost: user@localhost\r\n\r\n", 421, "misdirected"),
        (b"GET /hello HTTP/1.1\r\nHost:\r\n\r\n", 421, "misdirected"),
        (b"GET /hello HTTP/1.1\r\nHost: \xff\r\n\r\n", 400, "bad_request"),
    ],
)
def test_a_request_that_does_not_name_one_host_of_ours_is_refused(
    kitchen: Served, request_bytes: bytes, status: int, code: str
) -> None:
    reply = ask(kitchen.port, request_bytes)

    assert reply is not None
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8000", "kitchen", "a.localhost"])
def test_private_names_of_any_port_are_ours_in_development(kitchen: Served, host: str) -> None:
    reply = ask(kitchen.port, f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert reply is not None
    assert reply.status == 200


def test_a_target_in_absolute_form_is_taken(kitchen: Served) -> None:
    reply = ask(kitchen.port, b"GET http://localhost/path/x HTTP/1.1\r\n" + HOST + b"\r\n")

    assert reply is not None
    assert reply.json() == {"text": "x"}


# Fields.


def test_a_field_that_is_not_ascii_is_refused_and_not_taken_for_missing(kitchen: Served) -> None:
    reply = ask(kitchen.port, get("/header", "X-Token: caf\xe9"))

    assert reply is not None
    assert (reply.status, reply.code) == (422, "invalid")
    assert reply.json()["faults"][0]["message"] == "Expected ASCII, got other bytes"


@pytest.mark.parametrize("key", ["caf\xe9", '"caf\xc3\xa9"', "\xff"])
def test_an_idempotency_key_that_is_not_ascii_is_refused_and_not_taken_for_missing(kitchen: Served, key: str) -> None:
    """A command was done, and done again: who sends a key counts on its being heard."""
    reply = ask(kitchen.port, post("/tickets", BODY, f"Idempotency-Key: {key}"))

    assert reply is not None
    assert (reply.status, reply.code) == (400, "bad_request")


# Methods and paths.


@pytest.mark.parametrize("method", ["get", "BREW", "DELETE", "POST", "TRACE", "PROPFIND"])
def test_another_method_is_refused_and_the_right_ones_are_named(kitchen: Served, method: str) -> None:
    reply = ask(kitchen.port, get("/hello", method=method))

    assert reply is not None
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.header("allow") == "GET, HEAD, OPTIONS"


def test_options_names_the_methods(kitchen: Served) -> None:
    reply = ask(kitchen.port, get("/tickets", method="OPTIONS"))

    assert reply is not None
    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("allow") == "OPTIONS, POST"


@pytest.mark.parametrize("path", ["/hello", "/big", "/files/ten.txt", "/openapi.json", "/healthz", "/stream"])
def test_head_has_the_headers_of_get_and_no_body(kitchen: Served, path: str) -> None:
    with Wire(kitchen.port) as wire:
        head = wire.send(get(path, method="HEAD")).reply(to_head=True)
        whole = wire.send(get(path)).reply()

    assert head is not None
    assert whole is not None
    varying = {"date", "transfer-encoding"}
    assert {name: value for name, value in head.headers.items() if name not in varying} == {
        name: value for name, value in whole.headers.items() if name not in varying
    }


def test_head_of_a_stream_ends_it_once_its_head_is_sent(kitchen: Served) -> None:
    """It once went on to its end for nobody, and one that never waited held its worker past every deadline."""
    reply = ask(kitchen.port, get("/stream?chunks=1000000&tag=headless", method="HEAD"), to_head=True)

    assert reply is not None
    assert reply.status == 200
    events = kitchen.wait_for_event("headless closed")
    assert "headless chunk 0" not in events


@pytest.mark.parametrize(("method", "target"), [("CONNECT", "localhost"), ("GET", "localhost")])
def test_a_target_that_is_no_path_is_not_found(kitchen: Served, method: str, target: str) -> None:
    reply = ask(kitchen.port, get(target, method=method))

    assert reply is not None
    assert (reply.status, reply.code) == (404, "unknown_operation")


@pytest.mark.parametrize("path", ["/none", "//hello", "/hello/", "/hello/../hello", "/HELLO", "/path/a%2Fb", "/path/"])
def test_a_path_is_taken_as_it_stands(kitchen: Served, path: str) -> None:
    reply = ask(kitchen.port, get(path))

    assert reply is not None
    assert (reply.status, reply.code) == (404, "unknown_operation")


@pytest.mark.parametrize("path", ["/path/%ff", "/path/%c0%af", "/hello?name=%ff", "/hello?%ff=1"])
def test_percent_encoding_that_is_not_utf_8_is_refused(kitchen: Served, path: str) -> None:
    reply = ask(kitchen.port, get(path))

    assert reply is not None
    assert (reply.status, reply.code) == (400, "bad_request")


@pytest.mark.parametrize(("path", "text"), [("/path/%zz", "%zz"), ("/path/%", "%"), ("/path/%c3%a9", "é")])
def test_a_percent_that_encodes_nothing_stands_for_itself(kitchen: Served, path: str, text: str) -> None:
    reply = ask(kitchen.port, get(path))

    assert reply is not None
    assert reply.json() == {"text": text}


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 204), ("GET", 405)])
def test_the_server_as_a_whole_has_options_alone(kitchen: Served, method: str, status: int) -> None:
    reply = ask(kitchen.port, f"{method} * HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert reply is not None
    assert (reply.status, reply.header("allow")) == (status, "OPTIONS")


# What is wanted, and what is sent.


@pytest.mark.parametrize("accept", ["image/png", "*/*;q=0", ",".join(["a/b"] * 2000)])
def test_a_format_that_nobody_offers_is_not_acceptable(kitchen: Served, accept: str) -> None:
    reply = ask(kitchen.port, get("/hello", f"Accept: {accept}"))

    assert reply is not None
    assert (reply.status, reply.code) == (406, "not_acceptable")


def test_every_line_of_accept_counts(kitchen: Served) -> None:
    """Several lines are one list (RFC 9110, 5.3); who asked for nothing of ours in the first one was refused."""
    reply = ask(kitchen.port, get("/hello", "Accept: image/png", "Accept: text/csv"))

    assert reply is not None
    assert (reply.status, reply.header("content-type")) == (200, "text/csv; charset=utf-8")


@pytest.mark.parametrize(
    "field",
    [
        "Accept: ;;;q=,,", "Accept:", "Accept-Encoding: ;q=1,,gzip;q=abc", "Accept-Encoding: \xe9",
        "traceparent: 00-zz-1", "traceparent: " + "0" * 5000, "Authorization: Bearer \xff", "Origin: null",
        "Range: bytes=0-", 'If-None-Match: "', "Expect: something", "Upgrade: h2c", "Content-Length: 0",
        "X-Token: \xe9", "Connection: X-Token", "Cookie: =;=;",
        "X-Timeout-Ms: 999999999",
    ],
)  # fmt: skip
def test_an_odd_field_is_ignored(kitchen: Served, field: str) -> None:
    reply = ask(kitchen.port, get("/hello", field))

    assert reply is not None
    assert reply.status == 200


@pytest.mark.parametrize("value", ["abc", "-1", "0", "000", "1.5", "", "9" * 20, "\xb2"])
def test_a_timeout_that_is_no_number_of_milliseconds_is_refused(kitchen: Served, value: str) -> None:
    reply = ask(kitchen.port, get("/hello", f"X-Timeout-Ms: {value}"))

    assert reply is not None
    # What is no ASCII is not seen at all: the web server keeps such values from us.
    assert reply.status == (200 if value == "\xb2" else 400)


@pytest.mark.parametrize("content_type", ["image/png", "text/html", "application/json2", "", ";", "application"])
def test_a_body_of_another_format_is_refused(kitchen: Served, content_type: str) -> None:
    reply = ask(kitchen.port, post("/tickets", BODY, content_type=content_type))

    assert reply is not None
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


def test_a_body_of_no_stated_format_is_refused(kitchen: Served) -> None:
    reply = ask(kitchen.port, get("/tickets", "Content-Length: 2", method="POST") + b"{}")

    assert reply is not None
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


def test_a_body_that_is_missing_is_malformed(kitchen: Served) -> None:
    for request in (post("/tickets", b""), get("/tickets", "Content-Type: application/json", method="POST")):
        reply = ask(kitchen.port, request)

        assert reply is not None
        assert (reply.status, reply.code) == (400, "malformed")


def test_whoever_waits_to_be_told_to_continue_is_told(kitchen: Served) -> None:
    head = get(
        "/tickets",
        "Content-Type: application/json",
        "Content-Length: 11",
        "Expect: 100-continue",
        method="POST",
    )

    with Wire(kitchen.port) as wire:
        wire.send(head)
        assert wire.reply_head() == 100
        reply = wire.send(BODY).reply()

    assert reply is not None
    assert reply.status == 200


def test_a_body_that_nobody_asked_for_is_skipped(kitchen: Served) -> None:
    with Wire(kitchen.port) as wire:
        first = wire.send(get("/path/1", "Content-Length: 11") + BODY).reply()
        second = wire.send(NEXT).reply()

    assert first is not None
    assert second is not None
    assert (first.json()["text"], second.json()["text"]) == ("1", "next")


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/tickets", ["Content-Type: image/png"], 415),
        ("/tickets", ["Content-Type: application/json", "Accept: image/png"], 406),
        ("/tickets", ["Content-Type: application/json", "X-Timeout-Ms: x"], 400),
        ("/none", ["Content-Type: application/json"], 404),
        ("/hello", ["Content-Type: application/json"], 405),
        ("/rpc", ["Content-Type: text/plain"], 415),
    ],
)
def test_a_connection_lasts_though_a_body_comes_after_its_refusal(
    kitchen: Served, path: str, fields: list[str], status: int
) -> None:
    """Head and body in two packets, as many clients send them: the connection was closed without a word."""
    with Wire(kitchen.port) as wire:
        wire.send(get(path, *fields, f"Content-Length: {len(BODY)}", method="POST"))
        time.sleep(0.05)
        first = wire.send(BODY).reply()
        second = wire.send(NEXT).reply()

    assert first is not None
    assert first.status == status
    assert second is not None
    assert second.json()["text"] == "next"


# Sizes.


def test_a_head_of_15_kB_is_taken(kitchen: Served) -> None:
    for request in (get("/header", "X-Token: " + "a" * 15_000), get("/hello?name=" + "a" * 15_000)):
        reply = ask(kitchen.port, request)

        assert reply is not None
        assert reply.status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/header", "X-Token: " + "a" * 20_000),
        get("/header", "X-Token: " + "a" * 600_000),
        get("/header", *[f"X-{number}: a" for number in range(150)]),
        get("/header", *[f"X-{number}: a" for number in range(10_000)]),
        get("/hello?name=" + "a" * 100_000),
    ],
    ids=["20 kB", "600 kB", "150 fields", "10 000 fields", "100 kB target"],
)
def test_a_larger_head_is_refused(kitchen: Served, request_bytes: bytes) -> None:
    reply = ask(kitchen.port, request_bytes)

    assert reply is not None
    assert reply.status == 431


def test_many_fields_of_a_query_are_refused(kitchen: Served) -> None:
    reply = ask(kitchen.port, get("/hello?" + "a&" * 2000))

    assert reply is not None
    assert (reply.status, reply.code) == (400, "bad_request")


# Framing. No row may let a second request in, except where the first is a whole one of its own.


def chunked(body: bytes, *fields: bytes) -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields or (b"Transfer-Encoding: chunked",))
    return b"POST /tickets HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n" + lines + b"\r\n" + body


WHOLE = b"b\r\n" + BODY + b"\r\n0\r\n\r\n"

HARMLESS = {
    "one chunk": chunked(WHOLE),
    "chunked in capitals": chunked(WHOLE, b"Transfer-Encoding: CHUNKED"),
    "an extension": chunked(b"b;a=b\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "the same length twice": chunked(BODY, b"Content-Length: 11", b"Content-Length: 11"),
    "bare LF": b"POST /tickets HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 11\n\n"
    + BODY,
}

REFUSED = {
    "two lengths": chunked(BODY + NEXT, b"Content-Length: 11", b"Content-Length: 5"),
    "a list of lengths": chunked(BODY + NEXT, b"Content-Length: 11, 11"),
    "+11": chunked(BODY + NEXT, b"Content-Length: +11"),
    "-1": chunked(BODY + NEXT, b"Content-Length: -1"),
    "0xb": chunked(BODY + NEXT, b"Content-Length: 0xb"),
    "a length beyond 64 bits": chunked(BODY + NEXT, b"Content-Length: 99999999999999999999999"),
    "xchunked": chunked(WHOLE + NEXT, b"Transfer-Encoding: xchunked"),
    "identity": chunked(BODY + NEXT, b"Transfer-Encoding: identity", b"Content-Length: 11"),
    "chunked, identity": chunked(WHOLE + NEXT, b"Transfer-Encoding: chunked, identity"),
    "gzip, chunked": chunked(WHOLE, b"Transfer-Encoding: gzip, chunked"),
    "chunked, chunked": chunked(WHOLE, b"Transfer-Encoding: chunked, chunked"),
    "chunked twice": chunked(WHOLE, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "a space before the colon": chunked(WHOLE + NEXT, b"Transfer-Encoding : chunked"),
    "a vertical tab": chunked(WHOLE + NEXT, b"Transfer-Encoding: \x0bchunked"),
    "quotes": chunked(WHOLE + NEXT, b'Transfer-Encoding: "chunked"'),
    "HTTP/1.0": chunked(WHOLE + NEXT).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a size beyond 64 bits": chunked(b"fffffffffffffffff\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT),
    "a negative size": chunked(b"-1\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT),
    "a size with 0x": chunked(b"0xb\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT),
    "LF in chunks": chunked(b"b\n" + BODY + b"\n0\n\n" + NEXT),
    "LF in an extension": chunked(b"b;a\n" + BODY + b"\r\n0\r\n\r\n" + NEXT),
    "an extension of 100 kB": chunked(b"b;a=" + b"b" * 100_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "junk behind a chunk": chunked(b"b\r\n" + BODY + b"xx\r\n0\r\n\r\n" + NEXT),
    "trailers without end": chunked(b"b\r\n" + BODY + b"\r\n0\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n"),
    "a folded field": get("/header", "X-Token: a\r\n b"),
    "NUL": get("/header", "X-Token: a\0b"),
    "bare CR": get("/header", "X-Token: a\rb"),
    "no name": get("/header", ": a"),
    "no colon": get("/header", "xyz"),
    "raw bytes in the path": b"GET /path/\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "no token as the method": b"GE(T /hello HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET /hello HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET /hello HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /hello\r\n\r\n",
    "garbage": b"\x00\x01\x02\x03\r\n\r\n",
    "TLS without TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
}


@pytest.mark.parametrize("request_bytes", HARMLESS.values(), ids=HARMLESS.keys())
def test_framing_that_has_one_meaning_is_taken(kitchen: Served, request_bytes: bytes) -> None:
    with Wire(kitchen.port) as wire:
        first = wire.send(request_bytes).reply()
        second = wire.send(NEXT).reply()

    assert first is not None
    assert second is not None
    assert first.json()["table"] == 1
    assert second.json()["text"] == "next"


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED.keys())
def test_framing_that_has_two_meanings_is_refused_and_lets_nothing_in(kitchen: Served, request_bytes: bytes) -> None:
    with Wire(kitchen.port) as wire:
        reply = wire.send(request_bytes).reply()
        wire.end()
        behind = wire.rest()

    assert reply is not None
    assert reply.status == 400
    assert b"next" not in behind


@pytest.mark.parametrize("length", [3, 6, 26, 1000])
@pytest.mark.parametrize("order", [1, -1])
def test_chunks_win_over_a_length_and_the_connection_ends(kitchen: Served, length: int, order: int) -> None:
    fields = [b"Content-Length: %d" % length, b"Transfer-Encoding: chunked"][::order]

    with Wire(kitchen.port) as wire:
        reply = wire.send(chunked(WHOLE + NEXT, *fields)).reply()
        behind = wire.rest()

    assert reply is not None
    assert reply.json()["table"] == 1
    assert behind == b""


def test_requests_in_a_row_are_answered_in_their_order(kitchen: Served) -> None:
    with Wire(kitchen.port) as wire:
        wire.send(b"".join(get(f"/path/{number}") for number in range(50)))
        replies = [wire.reply() for _ in range(50)]

    assert [reply.json()["text"] for reply in replies if reply] == [str(number) for number in range(50)]


# Clients that leave in the middle.


@pytest.mark.parametrize(
    "request_bytes",
    [
        post("/tickets", BODY)[:-3],
        post("/rpc", BODY)[:-3],
        post("/upload", BODY)[:-3],
        post("/tickets", BODY, content_type="multipart/form-data; boundary=x")[:-3],
        chunked(WHOLE)[:-20],
        chunked(WHOLE)[:-2],
        chunked(WHOLE).replace(b"/tickets", b"/upload")[:-9],
        get("/hello")[:-2],
        b"GET",
        b"",
    ],
    ids=["JSON", "rpc", "upload", "multipart", "chunk", "last chunk", "uploaded chunks", "head", "method", "nothing"],
)  # fmt: skip
def test_a_request_that_breaks_off_is_no_failure_of_ours(kitchen: Served, request_bytes: bytes) -> None:
    with Wire(kitchen.port) as wire:
        wire.send(request_bytes).end()
        reply = wire.reply()

    assert reply is None or reply.status == 400


def test_an_upload_that_breaks_off_is_not_taken_for_a_whole_one(kitchen: Served) -> None:
    """A store of uploads that were cut without anybody's notice is what this is about."""
    head = get("/upload", "Content-Type: application/octet-stream", "Transfer-Encoding: chunked", method="POST")

    for body in (b"5\r\nhello\r\n", b"5\r\nhel", b"5\r\nhello\r\nzz\r\n", b"5\r\nhello\r\n0\r\n"):
        with Wire(kitchen.port) as wire:
            wire.send(head + body).end()
            reply = wire.reply()

        assert reply is None or reply.status == 400, body


@pytest.mark.parametrize("field", ['If-Match: "old"', "If-Match: *", "If-None-Match: *"])
def test_a_command_with_a_condition_on_versions_is_refused_and_not_done_regardless(kitchen: Served, field: str) -> None:
    """RFC 9110, 13.1.1: whoever sends one relies on it, against a lost update say."""
    with Wire(kitchen.port) as wire:
        refused = wire.send(post("/tickets", BODY, field)).reply()
        taken = wire.send(post("/tickets", BODY)).reply()

    assert refused is not None
    assert (refused.status, refused.code) == (412, "precondition_failed")
    assert taken is not None
    assert taken.status == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 101),
        (["Origin: http://localhost"], 101),
        (["Origin: http://caf\xe9"], 403),
        (["Origin: http://[bad"], 403),
        (["Origin: http://localhost", "Origin: http://evil.example"], 403),
    ],
)
def test_a_handshake_whose_origin_is_not_one_of_ours_is_refused(
    kitchen: Served, fields: list[str], status: int
) -> None:
    """One that cannot be read was taken for none at all, which is what programs send that are no pages."""
    upgrade = ["Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + KEY]
    with Wire(kitchen.port) as wire:
        found = wire.send(get("/ws", *upgrade, *fields)).reply_head()

    assert found == status
