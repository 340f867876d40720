import unittest

from logview import view

LOG = ["DEBUG open file", "INFO file read", "  more of it", "WARNING disk full", "ERROR file lost"]


class Hidden(unittest.TestCase):
    def test_default(self):
        self.assertEqual(view([], LOG), LOG)
        self.assertEqual(view(["--word", "file"], LOG), [LOG[0], LOG[1], LOG[4]])

    def test_level(self):
        self.assertEqual(view(["--level", "warning"], LOG), [LOG[3]])
        self.assertEqual(view(["--level", "error"], LOG), [LOG[4]])

    def test_with_word(self):
        self.assertEqual(view(["--level", "info", "--word", "file"], LOG), [LOG[1]])
        self.assertEqual(view(["--level", "info", "--word", "disk"], LOG), [])


if __name__ == "__main__":
    unittest.main()
