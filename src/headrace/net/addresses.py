"""Which addresses lie in the public Internet."""

import ipaddress

# Networks that the standard library takes for public, or that lead elsewhere than they seem to.
_INNER = tuple(
    ipaddress.ip_network(each)
    for each in (
        "192.0.0.0/24",  # for protocols between neighbours (RFC 6890)
        "168.63.129.16/32",  # Azure's host answers there to each of its machines
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that was ever given to anybody (RFC 3587)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_ISATAP = {0x00005EFE, 0x02005EFE}  # RFC 5214
_LOW = 0xFFFFFFFF


def is_public(address: str) -> bool:
    """Whether it is, and whatever address of IPv4 a gateway would make of one of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not parsed.is_multicast and _is_outer(parsed)
    inner = _inside(parsed)
    if inner is not None and not is_public(str(inner)):
        return False
    if parsed.ipv4_mapped is not None or parsed in _NAT64:
        return True
    return parsed in _UNICAST and parsed.is_global and _is_outer(parsed)


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64 or int(address) >> 32 & _LOW in _ISATAP:
        return ipaddress.IPv4Address(int(address) & _LOW)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def _is_outer(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not any(address in network for network in _INNER)
