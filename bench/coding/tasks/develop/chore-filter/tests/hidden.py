import unittest

from chores import run
from store import Chores


class Hidden(unittest.TestCase):
    def setUp(self):
        self.chores = Chores()
        for text in ("sweep", "dishes", "bins"):
            run(self.chores, ["add", text])
        run(self.chores, ["done", "2"])

    def test_open_only(self):
        self.assertEqual(run(self.chores, ["list", "--open"]), ["1. [ ] sweep", "3. [ ] bins"])

    def test_all_as_before(self):
        self.assertEqual(
            run(self.chores, ["list"]), ["1. [ ] sweep", "2. [x] dishes", "3. [ ] bins"]
        )

    def test_nothing_open(self):
        run(self.chores, ["done", "1"])
        run(self.chores, ["done", "3"])
        self.assertEqual(run(self.chores, ["list", "--open"]), [])

    def test_number_still_fits(self):
        self.assertEqual(run(self.chores, ["done", "3"]), ["done 3"])
        self.assertEqual(run(self.chores, ["list", "--open"]), ["1. [ ] sweep"])


if __name__ == "__main__":
    unittest.main()
