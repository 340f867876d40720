import unittest

from lift import Lift


class Hidden(unittest.TestCase):
    def setUp(self):
        self.lift = Lift(5)
        self.lift.call(2)

    def test_not_stopped_at_first(self):
        self.assertFalse(self.lift.stopped)
        self.lift.step()
        self.assertEqual(self.lift.floor, 1)

    def test_stands_still(self):
        self.lift.step()
        self.lift.stop()
        self.lift.step()
        self.assertTrue(self.lift.stopped)
        self.assertEqual(self.lift.floor, 1)
        self.assertEqual(self.lift.waiting(), [2])

    def test_takes_calls(self):
        self.lift.stop()
        self.lift.call(4)
        self.assertEqual(self.lift.waiting(), [2, 4])

    def test_opens_no_doors(self):
        self.lift.step(), self.lift.step()
        self.lift.stop()
        self.lift.step()
        self.assertFalse(self.lift.doors_open)

    def test_resume(self):
        self.lift.stop()
        self.lift.resume()
        for _ in range(3):
            self.lift.step()
        self.assertTrue(self.lift.doors_open)
        self.assertEqual(self.lift.floor, 2)


if __name__ == "__main__":
    unittest.main()
