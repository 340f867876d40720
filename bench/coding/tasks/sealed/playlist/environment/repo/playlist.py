"""Playlists of songs."""


class Playlist:
    def __init__(self, titles=()):
        self._titles = []
        for title in titles:
            self.add(title)

    def add(self, title):
        """A song at the end; each song stands in a list only once."""
        if title in self._titles:
            raise ValueError(f"{title} is in the list")
        self._titles.append(title)

    def remove(self, title):
        if title not in self._titles:
            raise KeyError(title)
        self._titles.remove(title)

    def swap(self, first, second):
        """Two songs change places."""
        a, b = self._titles.index(first), self._titles.index(second)
        self._titles[a], self._titles[b] = second, first

    def titles(self):
        return list(self._titles)
