import unittest

from wrapping import bullets, wrap


class Hidden(unittest.TestCase):
    def test_hang(self):
        self.assertEqual(wrap("aa bb cc dd", 5, hang=2), ["aa bb", "  cc", "  dd"])

    def test_hang_counts(self):
        self.assertEqual(wrap("one two three four", 9, hang=3), ["one two", "   three", "   four"])

    def test_without(self):
        self.assertEqual(wrap("aa bb cc", 5), ["aa bb", "cc"])
        self.assertEqual(wrap("", 5, hang=2), [])

    def test_bullets(self):
        self.assertEqual(
            bullets(["wash the car", "eat"], 10), ["- wash the", "  car", "- eat"]
        )


if __name__ == "__main__":
    unittest.main()
