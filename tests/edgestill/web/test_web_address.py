"""``[HOST:]PORT`` and the socket."""

import socket
from contextlib import closing

import pytest

from edgestill.demo.web.web_address import WebAddress
from edgestill.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback"),
    [
        ("8080", "127.0.0.1", 8080, True),
        ("localhost:1", "localhost", 1, True),
        ("127.0.0.5:80", "127.0.0.5", 80, True),
        ("[::1]:8080", "::1", 8080, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("board.local:65535", "board.local", 65535, False),
    ],
)
def test_addresses(text: str, host: str, port: int, is_loopback: bool) -> None:
    address = WebAddress.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, is_loopback)


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "65536", "1.5", "٣", "9" * 5000, ":8080", "::1:8080", "[]:1", "[board]:1", "8080:"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        WebAddress.parse(text)


def test_a_port_in_use_is_told_with_a_way_to_find_its_owner() -> None:
    with closing(WebAddress.parse("0").listen()) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use") as caught:
            WebAddress.parse(str(port)).listen()
        assert "ss -ltnp" in caught.value.hint


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-machine.invalid", "\udcff", "x" * 300])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="cannot listen at"):
        WebAddress(host=host, port=0).listen()


def test_the_url_of_all_addresses_names_one_that_others_can_open() -> None:
    url = WebAddress.parse("0.0.0.0:0").url(8080, "secret")
    assert "0.0.0.0" not in url
    assert url.endswith(":8080/?token=secret")


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    assert WebAddress.parse("[::1]:0").url(80, None) == "http://[::1]:80/"


def test_the_system_holds_back_few_pictures_for_a_slow_viewer() -> None:
    with closing(WebAddress.parse("0").listen()) as listening:
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 1 << 20


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such option")
def test_the_system_drops_a_viewer_that_is_gone_without_a_word() -> None:
    with closing(WebAddress.parse("0").listen()) as listening:
        host, port = listening.getsockname()
        with closing(socket.create_connection((host, port))):
            accepted, _ = listening.accept()
            with closing(accepted):
                assert 0 < accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 60_000
