"""``USER@HOST[:PORT]``: what ssh gets is a name and nothing else."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgestill.errors import UsageError
from edgestill.remote.remote_host import RemoteHost

SAFE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_:%.-]+")


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("jetson", None, "jetson", None),
        ("me@jetson", "me", "jetson", None),
        ("me@jetson:2222", "me", "jetson", 2222),
        ("me@192.168.0.7:22", "me", "192.168.0.7", 22),
        ("me@[fe80::1%eth0]:2222", "me", "fe80::1%eth0", 2222),
        ("fe80::1", None, "fe80::1", None),
        ("first.last@a-b_c.example.org", "first.last", "a-b_c.example.org", None),
    ],
)
def test_names_and_addresses_are_taken(text: str, user: str | None, host: str, port: int | None) -> None:
    found = RemoteHost.parse(text)
    assert (found.user, found.host, found.port) == (user, host, port)
    assert str(found) == text
    assert found.target == (f"{user}@{host}" if user else host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "me@",
        "-oProxyCommand=touch${IFS}x",
        "me@-oProxyCommand=x",
        "-l@host",
        "me@host;reboot",
        "me@$(reboot)",
        "`reboot`@host",
        "me@host name",
        "me@host\nx",
        "me@host:",
        "me@host:0",
        "me@host:65536",
        "me@host:22x",
        "me@host:²",
        "me@host:22:23",
        "me@[fe80::1",
        "me@[host]:22",
        "me@[fe80::1%$(x)]",
        "me@höst",
        f"me@{'a' * 300}",
    ],
)
def test_all_else_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not USER@HOST"):
        RemoteHost.parse(text)


@given(
    st.one_of(
        st.text(max_size=30),
        st.text(string.punctuation + " aZ0\n\t", max_size=30),
        st.from_regex(r"\A-?[a-z$;|&`]{0,5}@?-?[a-z:\[\]$%(){}]{0,12}(:[0-9-]{1,6})?\Z"),
    )
)
@example("a@b%$(x)")
def test_whatever_is_taken_has_no_sign_that_a_shell_or_ssh_reads(text: str) -> None:
    try:
        found = RemoteHost.parse(text)
    except UsageError:
        return
    assert SAFE.fullmatch(found.target)
    assert not found.target.startswith("-")
    assert not found.host.startswith("-")
    assert found.port is None or 0 < found.port <= 65535
    assert RemoteHost.parse(str(found)) == found
