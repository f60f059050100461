"""Addresses that others name lead to the outside, in whatever way they are spelled."""

import ipaddress
import socket
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.addresses import PORTS, ResolvedAddress, check_public_url, system_resolver, why_not
from cart.errors import AddressRefused

PUBLIC = "93.184.215.14"


def nobody(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "not known")


def leads_to(*addresses: str) -> ResolvedAddress:
    """Check a host's name that has these addresses."""
    return check_public_url("https://hooks.example/x", resolve=lambda host, port: addresses)


SPELLINGS_OF_INSIDE = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "0177.0000.0000.0001",
    "017700000001",
    "127.0.0.01",
    "127.0.0.0x1",
    "0",
    "0.0.0.0",
    "0x0",
    "10.0.0.5",
    "10.1",
    "0xa.0.0.5",
    "167772165",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "192.168.257",
    "3232235777",
    "100.64.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[::a00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a00:1]",
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[fc00::1]",
    "[fd12:3456:789a::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[100::1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "router",
    "printer.local",
    "metadata.google.internal",
    "nas.lan",
    "server.home.arpa",
]

TRICKS = [
    "",
    "http",
    "http:",
    "http:/",
    "http://",
    "http:///x",
    "http:93.184.215.14/",
    "//93.184.215.14/",
    "93.184.215.14",
    "file:///etc/passwd",
    "gopher://93.184.215.14/",
    "ftp://93.184.215.14/",
    "dict://93.184.215.14/",
    "ldap://93.184.215.14/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "tcp://93.184.215.14:80",
    "concat:http://93.184.215.14/x",
    "http://user@93.184.215.14/",
    "http://user:password@93.184.215.14/",
    "http://93.184.215.14@127.0.0.1/",
    "http://a@b@93.184.215.14/",
    "http://@93.184.215.14/",
    "http://93.184.215.14:0/",
    "http://93.184.215.14:/",
    "http://93.184.215.14:65536/",
    "http://93.184.215.14:-1/",
    "http://93.184.215.14:80a/",
    "http://93.184.215.14:80:80/",
    "http://93.184.215.14/#@127.0.0.1",
    "http://93.184.215.14/#",
    "http://93.184.215.14\\@127.0.0.1/",
    "http:\\\\93.184.215.14/",
    "http://93.184.215.14 .example/",
    " http://93.184.215.14/",
    "http://93.184.215.14/\r\nHost: 127.0.0.1",
    "http://93.184.215.14/\t",
    "ht\ntp://93.184.215.14/",
    "http://127.0.0.1%2f@93.184.215.14/",
    "http://%31%32%37.0.0.1/",
    "http://hooks%00.example/",
    "http://hooks.example\x00/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://hööks.example/",
    "http://loc\u0430lhost/",
    "http://127。0。0。1/",
    "http://[93.184.215.14]/",
    "http://[::1/",
    "http://::1/",
    "http://[::g]/",
    "http://hooks..example/",
    "http://.example/",
    "http://-hooks.example/",
    "http://hooks-.example/",
    "http://ho{oks}.example/",
    "http://ho|oks.example/",
    "http://ho<oks>.example/",
    'http://ho"oks.example/',
    "http://1.2.3.4.5/",
    "http://1.2.3.256/",
    "http://0x5d.0xb8.0xd7.0x0e/",
    "http://" + "a" * 64 + ".example/",
    "http://" + "a." * 200 + "example/",
    "http://hooks.example/" + "x" * 3000,
]


@pytest.mark.parametrize("host", SPELLINGS_OF_INSIDE)
def test_no_spelling_of_an_inside_address_is_let_through(host: str) -> None:
    for scheme in ("http", "https", "rtsp"):
        with pytest.raises(AddressRefused) as refused:
            check_public_url(f"{scheme}://{host}/x", resolve=nobody)
        assert "/x" not in str(refused.value)


@pytest.mark.parametrize("url", TRICKS)
def test_what_programs_could_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_public_url(url, resolve=lambda host, port: (PUBLIC,))


@pytest.mark.parametrize("url", TRICKS)
def test_tricks_are_refused_where_private_networks_are_allowed_too(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_public_url(url, allow_private=True, resolve=lambda host, port: (PUBLIC,))


@pytest.mark.parametrize("host", SPELLINGS_OF_INSIDE)
def test_allowing_private_networks_allows_their_usual_spelling_alone(host: str) -> None:
    usual = {"127.0.0.1", "127.255.255.254", "10.0.0.5", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"}
    usual |= {"[::1]", "[0:0:0:0:0:0:0:1]", "[fc00::1]", "[fd12:3456:789a::1]"}
    usual |= {"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]"}
    try:
        check_public_url(f"http://{host}/", allow_private=True, resolve=nobody)
    except AddressRefused:
        assert host not in usual
    else:
        assert host in usual


@pytest.mark.parametrize(
    ("url", "connect_url", "host_header"),
    [
        ("https://hooks.example/a?b=c", f"https://{PUBLIC}:443/a?b=c", "hooks.example"),
        ("http://Hooks.Example:8080", f"http://{PUBLIC}:8080", "hooks.example:8080"),
        ("https://9.9.9.9/", "https://9.9.9.9:443/", "9.9.9.9"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]:443/", "[2606:4700::1111]"),
        ("rtsp://cam.example/live", f"rtsp://{PUBLIC}:554/live", "cam.example"),
        ("https://xn--hks-snaa.example/", f"https://{PUBLIC}:443/", "xn--hks-snaa.example"),
    ],
)
def test_an_outside_address_is_given_as_what_to_connect_to(url: str, connect_url: str, host_header: str) -> None:
    found = check_public_url(url, resolve=lambda host, port: (PUBLIC,))
    assert (found.connect_url, found.host_header) == (connect_url, host_header)


def test_a_camera_may_have_a_login_and_a_private_address_if_that_is_said() -> None:
    url = "rtsp://viewer:secret@192.168.1.20/stream"
    found = check_public_url(url, allow_private=True, allow_login=True)
    assert found.connect_url == "rtsp://viewer:secret@192.168.1.20:554/stream"
    for login, private in ((False, True), (True, False)):
        with pytest.raises(AddressRefused) as refused:
            check_public_url(url, allow_private=private, allow_login=login)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "inside", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%eth0"]
)
def test_a_name_with_one_address_inside_is_refused_wherever_that_stands(inside: str) -> None:
    for addresses in ((inside,), (PUBLIC, inside), (inside, PUBLIC)):
        with pytest.raises(AddressRefused):
            leads_to(*addresses)


def test_a_name_is_asked_for_once_so_that_it_cannot_change_its_mind() -> None:
    answers = iter([(PUBLIC,), ("127.0.0.1",)])
    found = check_public_url("https://rebinding.example/", resolve=lambda host, port: next(answers))
    assert (found.address, next(answers)) == (PUBLIC, ("127.0.0.1",))


@pytest.mark.parametrize("answer", [(), ("rubbish",), ("",)])
def test_a_name_without_a_proper_address_is_refused(answer: tuple[str, ...]) -> None:
    with pytest.raises(AddressRefused, match="no address"):
        leads_to(*answer)


def test_only_the_schemes_that_are_named_are_taken() -> None:
    assert check_public_url("https://9.9.9.9/", schemes=("https",)).scheme == "https"
    with pytest.raises(AddressRefused, match="begins with https://"):
        check_public_url("http://9.9.9.9/", schemes=("https",))


def test_the_system_knows_this_machine() -> None:
    assert set(system_resolver("localhost", 80)) & {"127.0.0.1", "::1"}


@given(st.ip_addresses())
def test_an_address_is_let_through_only_if_the_registry_says_that_it_is_global(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if why_not(address) is None and address.version == 4:
        assert address.is_global
        assert not address.is_multicast
    if why_not(address, allow_private=True) is not None:
        assert why_not(address) is not None


@given(st.ip_addresses(v=4))
def test_an_address_in_the_new_spelling_is_judged_as_in_the_old_one(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        wrapped = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number)
        assert (why_not(wrapped) is None) == (why_not(address) is None)


@given(st.text(max_size=80))
def test_any_text_is_either_refused_or_leads_outside(text: str) -> None:
    try:
        found = check_public_url(f"http://{text}", resolve=lambda host, port: (PUBLIC,))
    except AddressRefused:
        return
    assert why_not(ipaddress.ip_address(found.address)) is None
    assert found.port in range(1, 65536)
    assert found.scheme in PORTS
