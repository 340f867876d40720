"""How many of each article are free, reserved and shipped."""


class Stock:
    def __init__(self, free):
        self.free = dict(free)
        self._reserved = {}
        self._shipped = {}

    def reserve(self, order_id, article, count):
        """Set goods aside for an order."""
        if count > self.free.get(article, 0):
            raise ValueError(f"not enough of {article}")
        self.free[article] -= count
        self._reserved[order_id] = (article, count)

    def release(self, order_id):
        """Give up a reservation."""
        article, count = self._reserved.pop(order_id)
        self.free[article] += count

    def ship(self, order_id):
        """The goods of a reservation leave the house."""
        self._shipped[order_id] = self._reserved.pop(order_id)

    def reserved(self, article):
        return sum(count for name, count in self._reserved.values() if name == article)

    def shipped(self, article):
        return sum(count for name, count in self._shipped.values() if name == article)
