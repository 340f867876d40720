import unittest

from playlist import Playlist


class Hidden(unittest.TestCase):
    def setUp(self):
        self.songs = Playlist(["a", "b", "c", "d"])

    def test_down(self):
        self.songs.move("a", 3)
        self.assertEqual(self.songs.titles(), ["b", "c", "a", "d"])

    def test_up(self):
        self.songs.move("d", 2)
        self.assertEqual(self.songs.titles(), ["a", "d", "b", "c"])

    def test_ends(self):
        self.songs.move("b", 1)
        self.songs.move("c", 4)
        self.assertEqual(self.songs.titles(), ["b", "a", "d", "c"])

    def test_refuses(self):
        for place in (0, 5, -1):
            with self.assertRaises(ValueError):
                self.songs.move("a", place)
        with self.assertRaises(KeyError):
            self.songs.move("x", 1)
        self.assertEqual(self.songs.titles(), ["a", "b", "c", "d"])


if __name__ == "__main__":
    unittest.main()
