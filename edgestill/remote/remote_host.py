"""``USER@HOST[:PORT]``: parsed strictly, because ssh and what it starts read more into a name than a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

from edgestill.errors import UsageError

MOST_PORT = 65535
MOST_CHARS = 253  # of a name in the DNS
# No leading dash (an option), no sign that a shell reads: ssh puts names into ProxyCommand and Match exec.
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ZONE = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteHost:
    """Where ssh logs in.

    Attributes:
        user: Name there; None for that of the user's ssh configuration.
        host: Name or address, or a name of the user's ssh configuration; IPv6 without brackets.
        port: None for that of the configuration.
    """

    user: str | None
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> RemoteHost:
        """Parse ``[USER@]HOST[:PORT]``.

        Raises:
            UsageError: The text is nothing of that form.
        """
        user, at, rest = text.rpartition("@")
        host, port = _split(rest)
        is_name = len(host) <= MOST_CHARS and (_HOST.fullmatch(host) is not None or _is_v6(host))
        if not is_name or (at and _USER.fullmatch(user) is None) or not (port is None or _is_port(port)):
            raise UsageError(
                f"{text!r} is not USER@HOST[:PORT]", hint="as in: edgestill remote me@jetson doctor"
            )
        return cls(user=user or None, host=host, port=None if port is None else int(port))

    @property
    def target(self) -> str:
        """What ssh takes as its destination."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def __str__(self) -> str:
        if self.port is None:
            return self.target
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{f'{self.user}@' if self.user else ''}{host}:{self.port}"


def _split(text: str) -> tuple[str, str | None]:
    """Host and port; an IPv6 address with a port is in brackets."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        is_address = ":" in host and "]" in text and rest[:1] in {"", ":"}
        return host if is_address else "", rest[1:] if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None


def _is_v6(host: str) -> bool:
    address, percent, zone = host.partition("%")
    if ":" not in address or (percent and _ZONE.fullmatch(zone) is None):
        return False
    try:
        IPv6Address(address)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_PORT))
    return is_number and 0 < int(text) <= MOST_PORT
