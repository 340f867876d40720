import unittest

from coupons import Coupon, apply, best


class Hidden(unittest.TestCase):
    def test_exactly_the_minimum(self):
        self.assertEqual(apply(Coupon("A", minimum=2000, percent=10), 2000), 1800)

    def test_below(self):
        self.assertEqual(apply(Coupon("A", minimum=2000, percent=10), 1999), 1999)

    def test_never_negative(self):
        self.assertEqual(apply(Coupon("B", cents_off=500), 300), 0)
        self.assertEqual(apply(Coupon("B", cents_off=500, percent=50), 800), 0)

    def test_best(self):
        coupons = [Coupon("A", minimum=1000, cents_off=300), Coupon("B", percent=10)]
        self.assertEqual(best(coupons, 1000), 700)
        self.assertEqual(best(coupons, 900), 810)
        self.assertEqual(best([], 900), 900)


if __name__ == "__main__":
    unittest.main()
