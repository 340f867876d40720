import unittest

from ring import Ring


class Hidden(unittest.TestCase):
    def test_every_length(self):
        for size in (1, 2, 5):
            ring = Ring(size)
            for number in range(13):
                ring.push(number)
                self.assertEqual(ring.lines(), list(range(max(0, number + 1 - size), number + 1)))

    def test_empty(self):
        self.assertEqual(Ring(4).lines(), [])

    def test_counts(self):
        ring = Ring(2)
        for line in "abc":
            ring.push(line)
        self.assertEqual((len(ring), ring.dropped()), (2, 1))

    def test_result_is_a_copy(self):
        ring = Ring(2)
        ring.push("a")
        ring.lines().append("z")
        self.assertEqual(ring.lines(), ["a"])


if __name__ == "__main__":
    unittest.main()
