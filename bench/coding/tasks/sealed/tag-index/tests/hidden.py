import unittest

from tag_index import TagIndex


class Hidden(unittest.TestCase):
    def setUp(self):
        self.index = TagIndex()
        self.index.add("a.txt", ["home", "tax"])
        self.index.add("b.txt", ["home", "garden"])
        self.index.remove("a.txt")

    def test_gone(self):
        self.assertEqual(self.index.documents("tax"), [])
        self.assertEqual(self.index.tags_of("a.txt"), [])

    def test_others_stay(self):
        self.assertEqual(self.index.documents("home"), ["b.txt"])
        self.assertEqual(self.index.tags_of("b.txt"), ["garden", "home"])

    def test_added_again(self):
        self.index.add("a.txt", ["tax"])
        self.assertEqual(self.index.documents("tax"), ["a.txt"])


if __name__ == "__main__":
    unittest.main()
