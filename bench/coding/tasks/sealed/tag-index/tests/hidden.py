import unittest

from tag_index import TagIndex


class Hidden(unittest.TestCase):
    def setUp(self):
        self.index = TagIndex()
        self.index.add("a.txt", ["home", "tax"])
        self.index.add("b.txt", ["home"])

    def test_remove(self):
        self.index.remove("a.txt")
        self.assertEqual(self.index.documents("home"), ["b.txt"])
        self.assertEqual(self.index.tags_of("a.txt"), [])

    def test_empty_tag_vanishes(self):
        self.index.remove("a.txt")
        self.assertEqual(self.index.tags(), ["home"])

    def test_all_gone(self):
        self.index.remove("a.txt")
        self.index.remove("b.txt")
        self.assertEqual(self.index.tags(), [])

    def test_unknown(self):
        self.index.remove("c.txt")
        self.assertEqual(self.index.tags(), ["home", "tax"])


if __name__ == "__main__":
    unittest.main()
