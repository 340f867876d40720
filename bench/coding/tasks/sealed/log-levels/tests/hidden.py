import contextlib
import io
import unittest

from logview import view

LOG = ["DEBUG open file", "INFO file read", "  more of it", "WARNING disk full", "ERROR file lost"]


class Hidden(unittest.TestCase):
    def test_default(self):
        self.assertEqual(view([], LOG), LOG)

    def test_warning(self):
        self.assertEqual(view(["--level", "warning"], LOG), LOG[2:])

    def test_info_and_error(self):
        self.assertEqual(view(["--level", "info"], LOG), LOG[1:])
        self.assertEqual(view(["--level", "error"], LOG), [LOG[2], LOG[4]])

    def test_with_word(self):
        self.assertEqual(view(["--level", "info", "--word", "file"], LOG), [LOG[1], LOG[4]])

    def test_unknown_level(self):
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            view(["--level", "loud"], LOG)


if __name__ == "__main__":
    unittest.main()
