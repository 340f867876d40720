import unittest

from memo import remember


class Hidden(unittest.TestCase):
    def setUp(self):
        self.calls = []

        @remember
        def area(width, height=1, depth=1):
            self.calls.append((width, height, depth))
            return width * height * depth

        self.area = area

    def test_keywords_differ(self):
        self.assertEqual([self.area(2, height=3), self.area(2, height=5)], [6, 10])

    def test_names_differ(self):
        self.assertEqual([self.area(2, height=3), self.area(2, depth=7)], [6, 14])

    def test_order_of_keywords(self):
        self.area(2, height=3, depth=4)
        self.area(2, depth=4, height=3)
        self.assertEqual(len(self.calls), 1)
        self.assertEqual(self.area.hits, 1)

    def test_hits_and_forget(self):
        self.area(2), self.area(2), self.area(2)
        self.assertEqual(self.area.hits, 2)
        self.area.forget()
        self.area(2)
        self.assertEqual((self.area.hits, len(self.calls)), (0, 2))


if __name__ == "__main__":
    unittest.main()
