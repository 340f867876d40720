import unittest

from league import League


def table(**points):
    league = League()
    for name, value in points.items():
        league.join(name)
        league.won(name, value)
    return league.standings()


class Hidden(unittest.TestCase):
    def test_two_first(self):
        self.assertEqual(table(ann=30, bob=30, cy=10), [(1, "ann", 30), (1, "bob", 30), (3, "cy", 10)])

    def test_tie_in_the_middle(self):
        ranks = [row[0] for row in table(a=9, b=6, c=6, d=6, e=1)]
        self.assertEqual(ranks, [1, 2, 2, 2, 5])

    def test_no_ties(self):
        self.assertEqual([row[0] for row in table(a=3, b=2, c=1)], [1, 2, 3])

    def test_empty_league(self):
        self.assertEqual(League().standings(), [])

    def test_all_zero(self):
        self.assertEqual([row[0] for row in table(a=0, b=0)], [1, 1])


if __name__ == "__main__":
    unittest.main()
