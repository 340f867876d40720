import unittest
from decimal import Decimal

from invoice import Invoice
from money import round_cents


def taxes(*lines):
    invoice = Invoice()
    for net, rate in lines:
        invoice.add("x", net, rate)
    return invoice.taxes()


class Hidden(unittest.TestCase):
    def test_half_up(self):
        self.assertEqual(round_cents(Decimal("0.095")), Decimal("0.10"))
        self.assertEqual(round_cents(Decimal("2.665")), Decimal("2.67"))
        self.assertEqual(round_cents(Decimal("2.664")), Decimal("2.66"))

    def test_one_line(self):
        self.assertEqual(taxes(("0,50", 19)), {19: Decimal("0.10")})

    def test_rounded_once_for_each_rate(self):
        self.assertEqual(taxes(("0.50", 19), ("0.50", 19)), {19: Decimal("0.19")})
        self.assertEqual(taxes(*[("0.10", 7)] * 5), {7: Decimal("0.04")})

    def test_two_rates_and_total(self):
        invoice = Invoice()
        invoice.add("book", "9.90", 7)
        invoice.add("pen", "2.50")
        self.assertEqual(invoice.taxes(), {7: Decimal("0.69"), 19: Decimal("0.48")})
        self.assertEqual(invoice.total(), Decimal("13.57"))


if __name__ == "__main__":
    unittest.main()
