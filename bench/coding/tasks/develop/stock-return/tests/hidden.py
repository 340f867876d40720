import unittest

from stock import Stock


class Hidden(unittest.TestCase):
    def setUp(self):
        self.stock = Stock({"lamp": 5, "desk": 1})
        self.stock.reserve("o1", "lamp", 3)

    def test_shipped_goods_return(self):
        self.stock.ship("o1")
        self.stock.take_back("o1")
        self.assertEqual(self.stock.free, {"lamp": 5, "desk": 1})
        self.assertEqual(self.stock.shipped("lamp"), 0)

    def test_only_once(self):
        self.stock.ship("o1")
        self.stock.take_back("o1")
        with self.assertRaises(KeyError):
            self.stock.take_back("o1")

    def test_not_shipped(self):
        with self.assertRaises(ValueError):
            self.stock.take_back("o1")
        self.assertEqual(self.stock.reserved("lamp"), 3)
        self.assertEqual(self.stock.free["lamp"], 2)

    def test_unknown(self):
        with self.assertRaises(KeyError):
            self.stock.take_back("o9")


if __name__ == "__main__":
    unittest.main()
