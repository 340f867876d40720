import unittest

from machine import Machine


class Hidden(unittest.TestCase):
    def setUp(self):
        self.machine = Machine()
        self.machine.choose("single")

    def test_coins_in_order(self):
        for coin in (50, 200, 20):
            self.machine.insert(coin)
        self.assertEqual(self.machine.cancel(), [50, 200, 20])

    def test_afterwards(self):
        self.machine.insert(100)
        self.machine.cancel()
        self.assertEqual(self.machine.inserted(), 0)
        self.assertIsNone(self.machine.chosen)
        self.assertEqual(self.machine.cancel(), [])

    def test_sells_again(self):
        self.machine.insert(100)
        self.machine.cancel()
        self.machine.choose("child")
        self.assertEqual(self.machine.insert(200), 0)
        self.assertEqual(self.machine.buy(), 60)
        self.assertEqual(self.machine.sold, ["child"])

    def test_nothing_inserted(self):
        self.assertEqual(self.machine.cancel(), [])
        self.assertIsNone(self.machine.chosen)


if __name__ == "__main__":
    unittest.main()
