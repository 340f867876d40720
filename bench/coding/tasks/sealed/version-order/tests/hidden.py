import unittest

from versions import is_newer, newest, outdated


class Hidden(unittest.TestCase):
    def test_numbers(self):
        self.assertTrue(is_newer("1.10", "1.9"))
        self.assertFalse(is_newer("1.9", "1.10"))
        self.assertEqual(newest(["v2.3", "v12.0", "v9.9"]), "v12.0")

    def test_trailing_zeros_are_equal(self):
        self.assertFalse(is_newer("1.2.0", "1.2"))
        self.assertFalse(is_newer("1.2", "1.2.0"))
        self.assertEqual(newest(["1.2", "1.2.0"]), "1.2")

    def test_longer_is_newer(self):
        self.assertTrue(is_newer("1.2.1", "1.2"))

    def test_outdated(self):
        self.assertEqual(outdated({"a": "1.9", "b": "2.0", "c": "1"}, {"a": "1.11", "b": "2"}), ["a"])


if __name__ == "__main__":
    unittest.main()
