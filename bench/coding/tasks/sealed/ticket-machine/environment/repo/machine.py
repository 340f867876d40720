"""A ticket machine; amounts are cents."""

COINS = (10, 20, 50, 100, 200)
PRICES = {"single": 280, "day": 850, "child": 140}


class Machine:
    def __init__(self):
        self._inserted = []
        self.chosen = None
        self.sold = []

    def choose(self, ticket):
        if ticket not in PRICES:
            raise KeyError(ticket)
        self.chosen = ticket

    def insert(self, coin):
        """Take a coin; returns what is still to pay."""
        if coin not in COINS:
            raise ValueError(f"no such coin: {coin}")
        if self.chosen is None:
            raise ValueError("choose a ticket first")
        self._inserted.append(coin)
        return max(0, PRICES[self.chosen] - self.inserted())

    def inserted(self):
        return sum(self._inserted)

    def buy(self):
        """Sell the ticket; returns the change."""
        if self.chosen is None or self.inserted() < PRICES[self.chosen]:
            raise ValueError("not paid yet")
        change = self.inserted() - PRICES[self.chosen]
        self.sold.append(self.chosen)
        self._inserted = []
        self.chosen = None
        return change
