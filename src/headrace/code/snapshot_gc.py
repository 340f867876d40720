"""Forgets old snapshots: those over an age, then the oldest over a size on disk."""

from headrace.code.snapshot_links import Links
from headrace.code.snapshot_store import Store, Taken, roots_of_id
from headrace.code.snapshot_tree import Limits, tree

_DAY_NS = 86_400 * 10**9
_WORTH_A_REWRITE = 0.25  # of the file
_FULL_TO = 0.75  # so that the next session need not begin with a rewrite again


def collect(store: Store, links: Links, limits: Limits, *, now_ns: int) -> int:
    """Drop what is over the limits from a store that is locked; returns the bytes freed.

    The newest snapshot always stays. The file is rewritten only if a quarter of it goes.
    """
    objects = store.objects
    history = store.history()
    oldest_ns = now_ns - limits.keep_days * _DAY_NS
    before = objects.size_bytes + links.bytes_alone()
    if not history or (history[0].time_ns >= oldest_ns and before <= limits.store_bytes_max):
        return 0
    room_bytes = limits.store_bytes_max * _FULL_TO
    live: dict[bytes, None] = {}
    live_links: set[bytes] = set()
    kept: list[Taken] = []
    live_bytes = 0
    for taken in history[::-1]:
        needs, linked = _needs(store, taken.id, live)
        more = sum(map(objects.stored_bytes, needs))
        more += sum(map(links.alone, linked - live_links))
        over = live_bytes + more > room_bytes
        if kept and (taken.time_ns < oldest_ns or over):
            break
        live.update(needs)
        live_links |= linked
        live_bytes += more
        kept.append(taken)
    over_the_limit = before > limits.store_bytes_max and live_bytes < before
    if not over_the_limit and before - live_bytes < before * _WORTH_A_REWRITE:
        return 0
    store.keep_only(kept[::-1], live)
    links.keep_only(live_links)
    return before - objects.size_bytes - links.bytes_alone()


def _needs(
    store: Store, snapshot_id: str, have: dict[bytes, None]
) -> tuple[dict[bytes, None], set[bytes]]:
    """What a snapshot needs beside what is live already; empty where it is not whole.

    Returns:
        Objects, and linked files.
    """
    needs: dict[bytes, None] = {}
    linked: set[bytes] = set()
    folders = roots_of_id(snapshot_id)
    while folders:
        digest = folders.pop()
        if digest in have or digest in needs:
            continue
        if digest not in store.objects:
            return {}, set()
        needs[digest] = None
        for node in tree(store.objects, digest).values():
            if node.kind == "folder":
                folders.append(node.ref)
            elif node.kind == "linked":
                linked.add(node.ref)
            elif node.kind == "file" and node.ref not in have and node.ref in store.objects:
                needs[node.ref] = None
    return needs, linked
