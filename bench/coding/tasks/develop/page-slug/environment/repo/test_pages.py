import unittest

from pages import slug, unique_slug


class PagesTest(unittest.TestCase):
    def test_one_word(self):
        self.assertEqual(slug("Tea"), "tea")

    def test_runs_of_signs(self):
        self.assertEqual(slug("Tea & Cake!"), "tea-cake")

    def test_unique(self):
        self.assertEqual(unique_slug("Tea", {"tea", "tea-2"}), "tea-3")


if __name__ == "__main__":
    unittest.main()
