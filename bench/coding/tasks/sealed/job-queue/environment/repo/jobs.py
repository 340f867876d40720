"""A queue of jobs with priorities."""

import heapq


class Jobs:
    def __init__(self):
        self._heap = []

    def put(self, name, priority=0):
        """Add a job; a higher number is more urgent."""
        heapq.heappush(self._heap, (-priority, name))

    def take(self):
        """The most urgent job; IndexError if there is none."""
        if not self._heap:
            raise IndexError("no jobs")
        return heapq.heappop(self._heap)[1]

    def names(self):
        """All waiting jobs, most urgent first."""
        return [entry[1] for entry in sorted(self._heap)]

    def __len__(self):
        return len(self._heap)
