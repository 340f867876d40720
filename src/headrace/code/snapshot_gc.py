"""Forgets old snapshots: those over an age, then the oldest over a size on disk."""

from headrace.code.snapshot_store import Store, Taken, digest_of_id
from headrace.code.snapshot_tree import Limits, tree

_DAY_NS = 86_400 * 10**9
_WORTH_A_REWRITE = 0.25  # of the file
_FULL_TO = 0.75  # so that the next session need not begin with a rewrite again


def collect(store: Store, limits: Limits, *, now_ns: int) -> int:
    """Drop what is over the limits from a store that is locked; returns the bytes freed.

    The newest snapshot always stays. The file is rewritten only if a quarter of it goes.
    """
    objects = store.objects
    history = store.history()
    oldest_ns = now_ns - limits.keep_days * _DAY_NS
    if not history or (
        history[0].time_ns >= oldest_ns and objects.size_bytes <= limits.store_bytes_max
    ):
        return 0
    room_bytes = limits.store_bytes_max * _FULL_TO
    live: dict[bytes, None] = {}
    kept: list[Taken] = []
    live_bytes = 0
    for taken in history[::-1]:
        needs = _needs(store, digest_of_id(taken.id), live)
        more = sum(map(objects.stored_bytes, needs))
        over = live_bytes + more > room_bytes
        if kept and (taken.time_ns < oldest_ns or over):
            break
        live.update(needs)
        live_bytes += more
        kept.append(taken)
    before = objects.size_bytes
    over_the_limit = before > limits.store_bytes_max and live_bytes < before
    if not over_the_limit and before - live_bytes < before * _WORTH_A_REWRITE:
        return 0
    store.keep_only(kept[::-1], live)
    return before - objects.size_bytes


def _needs(store: Store, root: bytes, have: dict[bytes, None]) -> dict[bytes, None]:
    """What a snapshot needs beside what is live already; empty where it is not whole."""
    needs: dict[bytes, None] = {}
    folders = [root]
    while folders:
        digest = folders.pop()
        if digest in have or digest in needs:
            continue
        if digest not in store.objects:
            return {}
        needs[digest] = None
        for node in tree(store.objects, digest).values():
            if node.kind == "folder":
                folders.append(node.ref)
            elif node.kind == "file" and node.ref not in have and node.ref in store.objects:
                needs[node.ref] = None
    return needs
