import unittest

from pages import slug, unique_slug


class Hidden(unittest.TestCase):
    def test_outer_signs(self):
        self.assertEqual(slug("  (Plain) "), "plain")
        self.assertEqual(slug("...why?"), "why")

    def test_digits_and_inner_runs(self):
        self.assertEqual(slug("Top 10 -- of 2024"), "top-10-of-2024")

    def test_nothing_left(self):
        self.assertEqual(slug("!?"), "page")
        self.assertEqual(slug(""), "page")

    def test_unique_of_nothing(self):
        self.assertEqual(unique_slug("??", {"page"}), "page-2")

    def test_length(self):
        self.assertLessEqual(len(slug("word " * 20)), 40)
        self.assertFalse(slug("word " * 20).endswith("-"))


if __name__ == "__main__":
    unittest.main()
