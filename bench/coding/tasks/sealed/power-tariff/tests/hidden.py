import unittest

from tariff import bill, cost_cents


class Hidden(unittest.TestCase):
    def test_edges(self):
        self.assertEqual([cost_cents(n) for n in (0, 100, 500)], [0, 2000, 14000])

    def test_within(self):
        self.assertEqual(cost_cents(250), 6500)

    def test_last_step(self):
        self.assertEqual(cost_cents(501), 14045)
        self.assertEqual(cost_cents(1000), 36500)

    def test_other_steps(self):
        self.assertEqual(cost_cents(7, [(2, 10), (4, 5), (None, 1)]), 33)
        with self.assertRaises(ValueError):
            cost_cents(9, [(2, 10)])

    def test_bill(self):
        self.assertEqual(bill(250), ["units 250", "energy 65.00", "total 72.90"])


if __name__ == "__main__":
    unittest.main()
