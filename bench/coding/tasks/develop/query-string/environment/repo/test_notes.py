import unittest

from notes import Note, search

NOTES = [Note("Carrot cake with nuts", ("food",)), Note("Plain cake"), Note("Rice", ("food",))]


class NotesTest(unittest.TestCase):
    def test_words(self):
        self.assertEqual(search(NOTES, "plain cake"), [NOTES[1]])

    def test_tags(self):
        self.assertEqual(search(NOTES, "#food"), [NOTES[0], NOTES[2]])


if __name__ == "__main__":
    unittest.main()
