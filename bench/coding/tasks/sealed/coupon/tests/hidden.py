import unittest

from coupons import Coupon, apply, best


class Hidden(unittest.TestCase):
    def test_never_negative(self):
        self.assertEqual(apply(Coupon("B", cents_off=500), 300), 0)
        self.assertEqual(apply(Coupon("B", cents_off=500, percent=50), 800), 0)

    def test_as_before(self):
        self.assertEqual(apply(Coupon("A", minimum=2000, percent=10), 2000), 1800)
        self.assertEqual(apply(Coupon("A", minimum=2000, percent=10), 1999), 1999)

    def test_best(self):
        self.assertEqual(best([Coupon("A", cents_off=900), Coupon("B", percent=10)], 800), 0)
        self.assertEqual(best([], 900), 900)


if __name__ == "__main__":
    unittest.main()
