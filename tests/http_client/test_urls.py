"""One reading of a URL, strict: what two parsers could read as two hosts is none."""

from __future__ import annotations

import pytest

from toque.http_client.target import Target


@pytest.mark.parametrize(
    ("url", "authority", "resource"),
    [
        ("https://shop.example", "shop.example", "/"),
        ("https://SHOP.example:443/a?b=c#d", "shop.example", "/a?b=c"),
        ("http://shop.example:8080/%20", "shop.example:8080", "/%20"),
        ("http://[2606:4700::1]:81/", "[2606:4700::1]:81", "/"),
        ("http://shop.example#@127.0.0.1:80@x/", "shop.example", "/"),
        ("https://shop.example?x", "shop.example", "/?x"),
    ],
)
def test_a_url_is_read_once(url: str, authority: str, resource: str) -> None:
    target = Target.read(url)

    assert (target.authority, target.resource) == (authority, resource)


@pytest.mark.parametrize(
    "url",
    [
        "", "shop.example", "//shop.example", "ftp://shop.example", "file:///etc/passwd", "gopher://x/", "javascript:1",
        "http://", "http:///path", "http://user@shop.example", "http://user:pw@shop.example",
        "http://public.example\\@127.0.0.1/", "http://a b/",
        "http://shop.example/ a", "http://shop.example/\r\nx: y", "http://shop.example/\t", "http://shöp.example/",
        "http://shop.example:99999/", "http://shop.example:x/", "http://[::1", "http://[fe80::1%25eth0]/",
        "http://127。0。0。1/", "http://shop.example/\x00", "https://shop.example/" + "a" * 8000,
        "http://sh%6fp.example/",
    ],
)  # fmt: skip
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort|IPv6"):
        Target.read(url)


def test_query_fields_are_added_and_encoded() -> None:
    target = Target.read("https://shop.example/find?lang=de", {"q": "a b&c", "page": 2, "tag": ["x", "y"]})

    assert target.resource == "/find?lang=de&q=a+b%26c&page=2&tag=x&tag=y"


def test_a_redirect_is_read_against_what_it_answers() -> None:
    target = Target.read("https://shop.example/a/b?c")

    assert str(target.joined("../d")) == "https://shop.example/d"
    assert str(target.joined("//other.example/")) == "https://other.example/"
    with pytest.raises(ValueError, match="https://"):
        target.joined("file:///etc/passwd")
