"""Throttle: how often somebody may fail, in bounded memory that no restart keeps."""

import ipaddress
import math
from collections import OrderedDict

from headrace.core.clock import Clock
from headrace.core.errors import RateLimited

_NS_PER_S = 1_000_000_000
_IPV6_NETWORK_BITS = 64


class Throttle:
    """Lets each key act `burst` times at once, and once more every `every_s` seconds.

    For each key one number is kept: when all of its tries will have come back (the generic cell
    rate algorithm). Keys that are back to the full burst are forgotten first.

    Args:
        clock: Durations are monotonic.
        burst: Tries in a row.
        every_s: After how long one comes back.
        keys_max: Keys remembered; beyond that the one that tried longest ago is forgotten.
    """

    def __init__(self, clock: Clock, *, burst: int, every_s: float, keys_max: int = 10_000) -> None:
        self._clock = clock
        self._every_ns = round(every_s * _NS_PER_S)
        self._room_ns = self._every_ns * burst
        self._keys_max = keys_max
        self._full_ns: OrderedDict[str, int] = OrderedDict()

    def take(self, key: str) -> None:
        """Count a try.

        Raises:
            RateLimited: There were too many; this one does not count.
        """
        now_ns = self._clock.monotonic_ns()
        full_ns = max(self._full_ns.get(key, now_ns), now_ns) + self._every_ns
        wait_ns = full_ns - now_ns - self._room_ns
        if wait_ns > 0:
            raise RateLimited(
                "too many tries; wait before the next one",
                retry_after_s=math.ceil(wait_ns / _NS_PER_S),
            )
        self._full_ns[key] = full_ns
        self._full_ns.move_to_end(key)
        while len(self._full_ns) > self._keys_max:
            self._full_ns.popitem(last=False)

    def give_back(self, key: str) -> None:
        """What was counted was no failure."""
        full_ns = self._full_ns.get(key)
        if full_ns is not None:
            self._full_ns[key] = full_ns - self._every_ns


def network_of(client: str) -> str:
    """Who counts as one client: an IPv4 address, or a network of IPv6, of which each has many."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))
