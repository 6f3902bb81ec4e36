"""One sentence for each way that a download can fail, and nothing secret in any."""

import errno
import json

import httpx2
import pytest
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, LocalEntryNotFoundError

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.hub_failure import (
    NotAHubError,
    is_passing,
    retry_after,
    root_of,
    translated,
    without_secrets,
)

REPO = "acme/tiny"


@pytest.fixture(autouse=True)
def plain_network(monkeypatch):
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


def told(error) -> PixartError:
    with pytest.raises(PixartError) as caught, translated(REPO):
        raise error
    return caught.value


def answer(status, url="https://huggingface.co/x", **headers):
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("GET", url))
    return HfHubHTTPError("told to", response=response)


def test_certificates_and_clocks():
    late = told(httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate is not yet valid"))
    assert "clock" in late.hint
    strange = told(httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    assert "SSL_CERT_FILE" in strange.hint
    assert strange.code == "download-failed"


def test_silence_and_broken_connections():
    assert "stopped answering" in told(httpx2.ReadTimeout("")).message
    assert "broke off" in told(httpx2.RemoteProtocolError("peer closed connection")).message
    assert "broke off" in told(ConnectionResetError(errno.ECONNRESET, "reset")).message
    assert "cannot be reached" in told(httpx2.ConnectError("[Errno -2] Name or service not known")).message


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_dead_proxy_is_named_without_credentials(monkeypatch, variable):
    monkeypatch.setenv(variable, "http://me:pa55@proxy.example:3128")
    error = told(httpx2.ConnectError("refused"))
    assert f"proxy.example:3128 of {variable}" in error.message
    assert variable in error.hint
    assert "pa55" not in error.message + error.hint
    monkeypatch.setenv("no_proxy", "huggingface.co")
    assert "proxy" not in told(httpx2.ConnectError("refused")).message


def test_a_proxy_that_says_no(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    assert "of https_proxy" in told(httpx2.ProxyError("407 Proxy Authentication Required")).message


def test_the_disk_is_not_the_hub():
    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EFBIG):
        error = told(OSError(number, "no", "/cache/blobs/x"))
        assert (error.code, "/cache/blobs/x" in error.message) == ("disk", True)
    assert told(OSError("Consistency check failed: file should be of size 3")).code == "download-failed"


def test_what_is_no_hub(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:pa55@mirror.example/")
    for error in (NotAHubError(), json.JSONDecodeError("no", "<html>", 0), FileMetadataError("no etag")):
        sentence = told(error).message
        assert "not a hub" in sentence
        assert "pa55" not in sentence
    assert "no web address" in told(httpx2.UnsupportedProtocol("x")).message


def test_the_cause_is_what_is_told():
    wrapped = LocalEntryNotFoundError("cannot find")
    wrapped.__cause__ = httpx2.ConnectTimeout("")
    assert root_of(wrapped) is wrapped.__cause__
    assert "stopped answering" in told(wrapped).message
    assert "broke off" in told(LocalEntryNotFoundError("cannot find")).message


def test_what_may_pass_and_what_may_not():
    store = "https://cdn.example/file?sig=1"
    passing = [answer(503), answer(429), answer(403, store), httpx2.ReadError("reset"), httpx2.WriteError("")]
    lasting = [answer(403), answer(404), httpx2.ConnectError(""), httpx2.ReadTimeout(""), ValueError("no")]
    assert [is_passing(error) for error in passing] == [True] * 5
    assert [is_passing(error) for error in lasting] == [False] * 5
    assert is_passing(OSError("Consistency check failed: size"))
    tried = LocalEntryNotFoundError("cannot find")
    tried.__cause__ = answer(503)
    assert not is_passing(tried)


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("900", 60.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)]
)
def test_how_long_the_hub_asks_to_wait(header, seconds):
    assert retry_after(answer(429, **{"Retry-After": header})) == seconds


@pytest.mark.parametrize("bug", [KeyError("x"), ValueError("x"), ZeroDivisionError()])
def test_bugs_stay_bugs(bug):
    with pytest.raises(type(bug)) as caught, translated(REPO):
        raise bug
    assert caught.value is bug


def test_secrets_are_cut():
    text = without_secrets("GET https://u:p@cdn/x?X-Amz-Signature=1&b=2 with hf_abcdefghijkl 'http://y?z=1'")
    assert text == "GET https://…cdn/x?… with … 'http://y?…'"
