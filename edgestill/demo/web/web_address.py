"""Where the web view listens: ``[HOST:]PORT``, the socket, and the address that people open."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from edgestill.errors import UsageError

LOOPBACK = "127.0.0.1"
MOST_PORT = 65535
#: Bytes that the system holds back for one viewer. The default grows to megabytes: a slow viewer would see
#: pictures that are many seconds old.
SEND_BUFFER = 256 * 1024
#: Time without any data taken after which the system drops a viewer: a phone out of reach says no goodbye.
GONE_MS = 30_000
BACKLOG = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """A host and a port to listen at.

    Attributes:
        host: A name or number of this machine, without the brackets of IPv6.
        port: 0 for any free one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> WebAddress:
        """Parse ``[HOST:]PORT``; without a host it is this machine's loopback address.

        Raises:
            UsageError: The text is nothing of that form.
        """
        host, colon, port = text.rpartition(":")
        inner = host.removeprefix("[").removesuffix("]")
        is_v6 = ":" in inner
        # Its length first: Python refuses to read thousands of digits.
        is_port = (
            port.isascii()
            and port.isdecimal()
            and len(port) <= len(str(MOST_PORT))
            and int(port) <= MOST_PORT
        )
        if not is_port or (colon and not inner) or is_v6 != (host != inner):
            raise UsageError(
                f"--web {text} is not [HOST:]PORT",
                hint="--web 8080 for this machine alone, --web 0.0.0.0:8080 for the network",
            )
        return cls(host=inner or LOOPBACK, port=int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can connect."""
        return is_loopback(self.host)

    def listen(self) -> socket.socket:
        """A socket that listens.

        Raises:
            UsageError: The port is taken, not allowed, or the host is none of this machine.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            found = socket.getaddrinfo(self.host, self.port, family, socket.SOCK_STREAM)
            listening = socket.create_server(found[0][4], family=family, backlog=BACKLOG)
        except OSError as error:
            raise self._refusal(error) from error
        except ValueError as error:  # no name that can be looked up
            raise _not_here(self.host, "it is not a name of a machine") from error
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
        return listening

    def url(self, port: int, token: str | None) -> str:
        """What to open in a browser; ``port`` is that of the socket."""
        host = _address_in_network(self.host) if _is_any(self.host) else self.host
        query = "" if token is None else f"?token={token}"
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/{query}"

    def _refusal(self, error: OSError) -> UsageError:
        if error.errno == errno.EADDRINUSE:
            return UsageError(
                f"--web: port {self.port} of {self.host} is in use",
                hint=f"choose another port, or see who has it: ss -ltnp 'sport = :{self.port}'",
            )
        if error.errno == errno.EACCES:
            return UsageError(f"--web: port {self.port} needs root", hint="use a port from 1024 on")
        return _not_here(self.host, error.strerror or str(error))


def _not_here(host: str, why: str) -> UsageError:
    return UsageError(
        f"--web cannot listen at {host}: {why}",
        hint="use an address of this machine (ip addr), or 0.0.0.0 for all of them",
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's loopback address, by number or as ``localhost``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _address_in_network(host: str) -> str:
    """The address by which others reach a machine that listens at all its addresses; its name if unknown."""
    is_v6 = ":" in host
    probe = ("2001:db8::1", 9) if is_v6 else ("192.0.2.1", 9)  # of documentation; nothing is sent to it
    with socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(probe)
            return str(asked.getsockname()[0])
        except OSError:
            return socket.gethostname()
