"""A lift that serves calls in the order they came."""


class Lift:
    def __init__(self, floors):
        self.floors = floors
        self.floor = 0
        self.doors_open = False
        self._calls = []

    def call(self, floor):
        """Ask the lift to a floor; a floor is asked for only once."""
        if not 0 <= floor < self.floors:
            raise ValueError(f"no floor {floor}")
        if floor not in self._calls:
            self._calls.append(floor)

    def waiting(self):
        return list(self._calls)

    def step(self):
        """Move by one floor towards the first call, or open the doors there."""
        if not self._calls:
            return
        target = self._calls[0]
        if target == self.floor:
            self.doors_open = True
            self._calls.pop(0)
            return
        self.doors_open = False
        self.floor += 1 if target > self.floor else -1
