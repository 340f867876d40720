import unittest

from tariff import cost_cents


class TariffTest(unittest.TestCase):
    def test_first_step(self):
        self.assertEqual(cost_cents(80), 1600)

    def test_second_step(self):
        self.assertEqual(cost_cents(101), 2030)


if __name__ == "__main__":
    unittest.main()
