import unittest

from notes import Note, search
from query import parse

NOTES = [Note("Carrot cake with NUTS", ("food",)), Note("Plain cake"), Note("Rice", ("food",))]


class Hidden(unittest.TestCase):
    def test_parse(self):
        query = parse("Cake -Nuts #food -x")
        self.assertEqual((query.words, query.tags, query.without), (["cake"], ["food"], ["nuts", "x"]))

    def test_search(self):
        self.assertEqual(search(NOTES, "cake -nuts"), [NOTES[1]])
        self.assertEqual(search(NOTES, "-cake"), [NOTES[2]])

    def test_with_tags(self):
        self.assertEqual(search(NOTES, "#food -carrot"), [NOTES[2]])

    def test_lone_minus(self):
        self.assertEqual(parse("cake -").words, ["cake"])
        self.assertEqual(search(NOTES, "cake -"), NOTES[:2])


if __name__ == "__main__":
    unittest.main()
