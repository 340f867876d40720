import unittest

from reader import read


class ReaderTest(unittest.TestCase):
    def test_values(self):
        self.assertEqual(read("port = 80\nhost = here"), {"port": 80, "host": "here"})

    def test_comment(self):
        self.assertEqual(read("# the port\nport = 80"), {"port": 80})

    def test_missing_equals(self):
        with self.assertRaises(ValueError):
            read("port 80")


if __name__ == "__main__":
    unittest.main()
