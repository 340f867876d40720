import unittest

from versions import is_newer, newest


class VersionsTest(unittest.TestCase):
    def test_newer(self):
        self.assertTrue(is_newer("2.0", "1.5"))

    def test_ten_is_more_than_nine(self):
        self.assertEqual(newest(["1.9", "1.10"]), "1.10")


if __name__ == "__main__":
    unittest.main()
