import unittest

from ring import Ring


class RingTest(unittest.TestCase):
    def test_not_full(self):
        ring = Ring(3)
        ring.push("a")
        self.assertEqual(ring.lines(), ["a"])

    def test_order_after_wrapping(self):
        ring = Ring(3)
        for line in "abcd":
            ring.push(line)
        self.assertEqual(ring.lines(), ["b", "c", "d"])


if __name__ == "__main__":
    unittest.main()
