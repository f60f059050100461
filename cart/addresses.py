"""Checks addresses that somebody else names, so that the shop's server is not sent into its own network.

Server-side request forgery: a webhook or a camera address that is given from outside may name the database next door or
a cloud's metadata service. What is checked is therefore not the text but where it leads, and the caller connects to the
address that was checked and asks no name server again, so that a name cannot mean something else a moment later.

>>> found = check_public_url("https://hooks.example.org/tillfree", resolve=lambda host, port: ("93.184.215.14",))
>>> found.address, found.port, found.host, found.connect_url
('93.184.215.14', 443, 'hooks.example.org', 'https://93.184.215.14:443/tillfree')
>>> check_public_url("http://169.254.169.254/latest/meta-data")
Traceback (most recent call last):
...
cart.errors.AddressRefused: http://169.254.169.254: expected a public address, 169.254.169.254 is link-local
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit, urlunsplit

from cart.errors import AddressRefused

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver: TypeAlias = Callable[[str, int], Sequence[str]]
"""Gives the addresses of a host, as text; raises ``OSError`` if it has none."""

PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
LONGEST_URL = 2048
LONGEST_HOST = 253

_STRANGE = re.compile(r"[^\x21-\x7e]|[\\<>\"`{}|^]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".home.arpa", ".lan")
# They answer with a machine's own credentials. Most are link-local; these are not, and one is an ordinary address.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
"""Somebody's own network; the fourth is that of carriers and of virtual networks."""
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class ResolvedAddress:
    """Where an address leads, as it was checked: connect there, and ask no name server again.

    Attributes:
        url: The address as it was given.
        scheme: ``http``, ``https``, ``rtsp`` or ``rtsps``.
        host: Its host's name, lower case, for the ``Host`` header and the certificate's name.
        port: Which port.
        address: The IP address to connect to, as text.
        connect_url: The same URL with the IP address for the host's name.
    """

    url: str
    scheme: str
    host: str
    port: int
    address: str
    connect_url: str

    @property
    def host_header(self) -> str:
        """What belongs into the ``Host`` header: the name, with the port where it is not the scheme's own."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == PORTS[self.scheme] else f"{name}:{self.port}"


def system_resolver(host: str, port: int) -> tuple[str, ...]:
    """Ask the system for a host's addresses.

    Raises:
        OSError: It has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def check_public_url(
    url: str,
    *,
    allow_private: bool = False,
    allow_login: bool = False,
    schemes: Sequence[str] = tuple(PORTS),
    resolve: Resolver = system_resolver,
) -> ResolvedAddress:
    """Check an address that somebody else named, and find where it leads.

    Whoever uses it connects to ``address`` (or ``connect_url``) with ``host`` as the name in the certificate, follows
    no redirect without checking that too, and checks again before each use.

    Args:
        url: ``http``, ``https``, ``rtsp`` or ``rtsps``, a host in ASCII, and nothing that programs read in two ways.
        allow_private: Let it lead into private networks and to this machine, where cameras are; never to link-local,
            multicast, reserved or metadata addresses.
        allow_login: Let it carry ``user:password@``, as the addresses of cameras do.
        schemes: Which schemes there may be, out of those four.
        resolve: Finds a host's addresses.

    Raises:
        AddressRefused: It is not such an address, its host has no address, or one of them is not to be connected to.
            The message carries no user's name, no password, no path.
    """
    parts, host, port = _taken_apart(url, allow_login=allow_login, schemes=schemes)
    shown = f"{parts.scheme}://{host if ':' not in host else f'[{host}]'}"
    literal = _literal(host)
    if literal is None:
        if not allow_private and (host == "localhost" or host.endswith(_LOCAL_NAMES) or "." not in host):
            raise AddressRefused(f"{shown}: expected a public host, {host} is a name within one network")
        try:
            found = [ipaddress.ip_address(text) for text in resolve(host, port)]
        except (OSError, ValueError, UnicodeError) as error:
            raise AddressRefused(f"{shown}: the host has no address") from error
    else:
        found = [literal]
    if not found:
        raise AddressRefused(f"{shown}: the host has no address")
    for address in found:
        wrong = why_not(address, allow_private=allow_private)
        if wrong is not None:
            raise AddressRefused(f"{shown}: expected a public address, {address} is {wrong}")
    first = str(found[0])
    login = parts.netloc.rpartition("@")[0]
    bracketed = f"[{first}]" if ":" in first else first
    netloc = f"{login}@{bracketed}:{port}" if login else f"{bracketed}:{port}"
    pinned = urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
    return ResolvedAddress(url, parts.scheme, host, port, first, pinned)


def why_not(address: IpAddress, *, allow_private: bool = False) -> str | None:
    """Say why an address is not to be connected to; None if it is.

    >>> why_not(ipaddress.ip_address("::ffff:10.0.0.1")), why_not(ipaddress.ip_address("9.9.9.9"))
    ('private', None)
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return "of one network alone"
        inner = _inside(address)
        if inner is not None:
            # Nobody's camera is written as a translated private address.
            return why_not(inner, allow_private=allow_private and address.ipv4_mapped is not None)
    if address in _METADATA:
        return "a metadata service"
    for is_so, what in (
        (address.is_unspecified, "unspecified"),
        (address.is_multicast, "multicast"),
        (address.is_link_local, "link-local"),
    ):
        if is_so:
            return what
    if address.is_loopback or any(address in network for network in _PRIVATE if network.version == address.version):
        return None if allow_private else ("this machine" if address.is_loopback else "private")
    return None if address.is_global and not address.is_reserved else "reserved"


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for, if there is one: mapped, 6to4, Teredo, NAT64, compatible."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _taken_apart(url: str, *, allow_login: bool, schemes: Sequence[str]) -> tuple[SplitResult, str, int]:
    if not isinstance(url, str) or not url or len(url) > LONGEST_URL:
        raise AddressRefused(f"expected an address of up to {LONGEST_URL} characters")
    if _STRANGE.search(url):
        raise AddressRefused("expected an address in ASCII without spaces, backslashes or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("expected an address with a host and a port up to 65535") from error
    known = [scheme for scheme in schemes if scheme in PORTS]
    if parts.scheme not in known:
        raise AddressRefused(f"expected an address that begins with {', '.join(f'{name}://' for name in known)}")
    if not url[len(parts.scheme) :].startswith("://") or not parts.hostname:
        raise AddressRefused(f"expected {parts.scheme}:// and a host")
    if parts.fragment or url.endswith("#"):
        raise AddressRefused("expected an address without a fragment (#)")
    login, at, place = parts.netloc.rpartition("@")
    if at and (not allow_login or "@" in login or not login):
        raise AddressRefused("expected an address without a user's name" if not allow_login else "expected one login")
    if place.endswith(":") or port == 0:
        raise AddressRefused("expected a port from 1 to 65535")
    return parts, parts.hostname.lower(), PORTS[parts.scheme] if port is None else port


def _literal(host: str) -> IpAddress | None:
    """The IP address that a host is written as; None for a name.

    Raises:
        AddressRefused: It is neither a name nor an IP address in its one usual spelling. Resolvers take ``0x7f.1``,
            ``0177.0.0.1`` and ``2130706433`` for addresses; nobody writes them who means well.
    """
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host)
        except ValueError as error:
            raise AddressRefused("expected a host's name, or an IP address in its usual spelling") from error
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return ipaddress.IPv4Address(host)
        except ValueError as error:
            raise AddressRefused("expected a host's name, or an IP address in its usual spelling") from error
    if len(host) > LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused("expected a host's name of letters, digits, hyphens and dots")
    return None
