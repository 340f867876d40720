"""The table of a small chess league."""

from dataclasses import dataclass


@dataclass
class Player:
    name: str
    points: int = 0


class League:
    def __init__(self):
        self.players = {}

    def join(self, name):
        if name in self.players:
            raise ValueError(f"{name} has joined already")
        self.players[name] = Player(name)

    def won(self, name, points=3):
        self.players[name].points += points

    def standings(self):
        """Rows of (rank, name, points), best first, equal points by name."""
        ordered = sorted(self.players.values(), key=lambda p: (-p.points, p.name))
        rows = []
        for rank, player in enumerate(ordered, start=1):
            rows.append((rank, player.name, player.points))
        return rows
