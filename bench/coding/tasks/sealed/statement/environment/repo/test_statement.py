import unittest

from statement import parse_amount, parse_line


class StatementTest(unittest.TestCase):
    def test_amount(self):
        self.assertEqual(parse_amount("12,50"), 1250)

    def test_small_cents(self):
        self.assertEqual(parse_amount("3,05"), 305)

    def test_line(self):
        self.assertEqual(parse_line("Rent; 800").cents, 80000)


if __name__ == "__main__":
    unittest.main()
