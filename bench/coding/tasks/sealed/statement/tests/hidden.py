import unittest

from statement import balances, parse_amount


class Hidden(unittest.TestCase):
    def test_thousands(self):
        self.assertEqual(parse_amount("1.250,40"), 125040)
        self.assertEqual(parse_amount("1.000.000,00"), 100000000)
        self.assertEqual(parse_amount("2.500"), 250000)

    def test_small_cents(self):
        self.assertEqual([parse_amount(t) for t in ("3,05", "3,50", "3,00")], [305, 350, 300])

    def test_negative(self):
        self.assertEqual(parse_amount("-1.250,40"), -125040)
        self.assertEqual(parse_amount("-0,75"), -75)

    def test_balances(self):
        self.assertEqual(balances(1000, ["a; 1,01", "b;-2.000,02"]), [1101, -198901])


if __name__ == "__main__":
    unittest.main()
