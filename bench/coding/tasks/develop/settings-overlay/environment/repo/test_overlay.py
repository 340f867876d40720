import unittest

from overlay import settings


class OverlayTest(unittest.TestCase):
    def test_top_level(self):
        self.assertEqual(settings({"name": "hill"})["name"], "hill")

    def test_host_stays(self):
        self.assertEqual(settings({"mail": {"port": 2525}})["mail"]["host"], "localhost")


if __name__ == "__main__":
    unittest.main()
