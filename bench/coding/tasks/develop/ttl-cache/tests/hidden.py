import unittest

from cache import Cache


class Hidden(unittest.TestCase):
    def setUp(self):
        self.now = 100
        self.cache = Cache(10, clock=lambda: self.now)
        self.cache.put("a", 1)

    def test_before_the_end(self):
        self.now = 109
        self.assertEqual(self.cache.get("a"), 1)
        self.assertEqual(len(self.cache), 1)

    def test_at_the_end(self):
        self.now = 110
        self.assertEqual(len(self.cache), 0)
        self.assertEqual(self.cache.get("a", "gone"), "gone")

    def test_length_of_a_mixture(self):
        self.now = 105
        self.cache.put("b", 2)
        self.now = 112
        self.assertEqual(len(self.cache), 1)
        self.assertEqual(self.cache.get("b"), 2)

    def test_put_again_renews(self):
        self.now = 108
        self.cache.put("a", 3)
        self.now = 115
        self.assertEqual(self.cache.get("a"), 3)


if __name__ == "__main__":
    unittest.main()
