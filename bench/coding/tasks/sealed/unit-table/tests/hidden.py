import unittest

from units import answer, convert


class Hidden(unittest.TestCase):
    def test_weights(self):
        self.assertEqual(answer("2 kg", "g"), "2000 g")
        self.assertEqual(answer("1500 kg", "t"), "1.5 t")
        self.assertEqual(answer("0.5 t", "g"), "500000 g")

    def test_same_unit(self):
        self.assertEqual(answer("7 g", "g"), "7 g")

    def test_mixed(self):
        for unit, other in (("m", "kg"), ("t", "km")):
            with self.assertRaises(ValueError):
                convert(1, unit, other)

    def test_unknown(self):
        for unit, other in (("kg", "lb"), ("lb", "kg")):
            with self.assertRaises(ValueError):
                convert(1, unit, other)

    def test_lengths(self):
        self.assertEqual(answer("250 cm", "m"), "2.5 m")


if __name__ == "__main__":
    unittest.main()
