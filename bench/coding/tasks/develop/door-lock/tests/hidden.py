import unittest

from lock import Lock


class Hidden(unittest.TestCase):
    def test_right_code_forgives(self):
        lock = Lock("42")
        lock.enter("1"), lock.enter("2")
        self.assertTrue(lock.enter("42"))
        lock.close()
        self.assertFalse(lock.enter("3"))
        self.assertEqual(lock.state, "closed")
        self.assertEqual(lock.wrong, 1)

    def test_three_in_a_row_block(self):
        lock = Lock("42")
        for code in "123":
            lock.enter(code)
        self.assertEqual(lock.state, "blocked")
        self.assertFalse(lock.enter("42"))
        self.assertEqual(lock.state, "blocked")

    def test_service(self):
        lock = Lock("42", tries=1)
        lock.enter("1")
        lock.service("0000-service")
        self.assertTrue(lock.enter("42"))


if __name__ == "__main__":
    unittest.main()
