"""HTTP/2 with prior knowledge and by TLS, as httpx and curl speak it."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from running import GIVE_UP_S, Served, serving
from websockets.asyncio.client import connect

pytestmark = pytest.mark.xdist_group("http2")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of localhost that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    form, sealing = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, sealing))
    return folder


@pytest.fixture(scope="module")
def secure_kitchen(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = {
        "http.tls_certificate": str(certificate / "certificate.pem"),
        "http.tls_key": str(certificate / "key.pem"),
    }
    with serving("kitchen", tmp_path_factory.mktemp("secure"), settings=settings) as served:
        yield served


@pytest.fixture(params=["h2c", "tls"])
async def client(request: pytest.FixtureRequest, certificate: Path) -> AsyncIterator[httpx.AsyncClient]:
    """httpx over HTTP/2 alone, in the clear and by TLS."""
    served: Served = request.getfixturevalue("kitchen" if request.param == "h2c" else "secure_kitchen")
    trust = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    async with httpx.AsyncClient(
        http1=request.param == "tls", http2=True, verify=trust, base_url=served.url, timeout=GIVE_UP_S
    ) as client:
        yield client


async def test_calls_are_answered_over_http2(client: httpx.AsyncClient) -> None:
    read = await client.get("/hello", params={"name": "ana"})
    written = await client.post("/tickets", json={"table": 4})
    missing = await client.get("/none")

    assert {reply.http_version for reply in (read, written, missing)} == {"HTTP/2"}
    assert read.json() == {"text": "hello ana"}
    assert written.json()["table"] == 4
    assert missing.json()["code"] == "unknown_operation"


@pytest.mark.parametrize(
    "path", ["/hello", "/none", "/tickets", "/path/%ff", "/files/ten.txt", "/files/none", "/failing"]
)
async def test_head_is_answered_without_content(client: httpx.AsyncClient, path: str) -> None:
    """granian sends the body of a refusal, and clients end the stream, or the connection, for such an answer."""
    head = await client.head(path)
    whole = await client.get(path)

    status = 405 if path == "/tickets" else whole.status_code
    assert (head.status_code, head.content) == (status, b"")
    assert int(head.headers["content-length"]) > 0


async def test_streams_of_one_connection_run_at_once(client: httpx.AsyncClient) -> None:
    """Fifty calls that each wait: one after the other they would take longer than their deadline."""
    replies = await asyncio.gather(*[client.get("/wait", params={"ms": 500, "tag": n}) for n in range(50)])

    assert [reply.json()["text"] for reply in replies] == [str(number) for number in range(50)]
    assert {reply.http_version for reply in replies} == {"HTTP/2"}


async def test_bodies_stream_both_ways(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b"x" * 10_000

    up = await client.post("/upload", content=body())
    down = await client.get("/stream", params={"chunks": 300, "size": 10_000})

    assert up.json() == {"count": 3_000_000}
    assert len(down.content) == 3_000_000


async def test_a_body_that_is_too_large_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/tickets", json={"table": 1, "notes": {"a": "x" * 2_000_000}})

    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")
    assert "connection" not in reply.headers


async def test_heads_are_bounded_as_those_of_http1(client: httpx.AsyncClient) -> None:
    taken = await client.get("/header", headers={"x-token": "a" * 10_000})
    refused = await client.get("/header", headers={"x-token": "a" * 20_000})

    assert (taken.status_code, refused.status_code) == (200, 431)


async def test_a_head_that_never_ends_ends_the_connection(client: httpx.AsyncClient) -> None:
    # It says ENHANCE_YOUR_CALM, which a client that is still sending may lose with the connection (RFC 9112, 9.6).
    with pytest.raises(httpx.TransportError, match=r"error_code:11|^$"):
        await client.get("/header", headers={"x-token": "a" * 200_000})

    assert (await client.get("/hello")).status_code == 200


async def test_a_foreign_host_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.get("/hello", headers={"host": "evil.example"})

    assert (reply.status_code, reply.json()["code"]) == (421, "misdirected")


async def test_files_have_ranges_and_validators(client: httpx.AsyncClient) -> None:
    part = await client.get("/files/ten.txt", headers={"range": "bytes=2-4"})
    known = await client.get("/files/ten.txt", headers={"if-none-match": part.headers["etag"]})

    assert (part.status_code, part.content) == (206, b"234")
    assert (known.status_code, known.content) == (304, b"")


# TLS itself.


async def test_the_first_line_and_browsers_say_https(secure_kitchen: Served, certificate: Path) -> None:
    assert secure_kitchen.scheme == "https"
    trust = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    async with connect(f"wss://localhost:{secure_kitchen.port}/ws", ssl=trust) as socket:
        await socket.send('{"jsonrpc":"2.0","id":1,"method":"kitchen.hello"}')

        assert "hello world" in str(await socket.recv())


@pytest.mark.parametrize(("flag", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl_agrees_on_a_version_by_alpn(secure_kitchen: Served, certificate: Path, flag: str, version: str) -> None:
    words = ["curl", "-sS", flag, "--cacert", str(certificate / "certificate.pem"), "-w", " %{http_version}"]
    done = subprocess.run(
        [*words, f"https://localhost:{secure_kitchen.port}/hello"],
        check=True, capture_output=True, text=True, timeout=GIVE_UP_S,
    )  # fmt: skip

    assert done.stdout == '{"text":"hello world"} ' + version


def test_tls_1_2_is_not_spoken(secure_kitchen: Served) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{secure_kitchen.url}/hello", verify=old)


def test_who_speaks_no_tls_is_not_answered(secure_kitchen: Served) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{secure_kitchen.port}/hello", timeout=GIVE_UP_S)
