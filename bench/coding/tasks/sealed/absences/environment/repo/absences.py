"""Absences of the people in an office."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Absence:
    person: str
    first: date
    last: date

    def days(self):
        """How many days it takes, weekends included."""
        return (self.last - self.first).days

    def overlaps(self, other):
        """Whether two absences share a day."""
        return self.first < other.last and other.first < self.last


def clashes(absences, new):
    """The people who are away at the same time as a new absence."""
    return sorted(
        {
            absence.person
            for absence in absences
            if absence.person != new.person and absence.overlaps(new)
        }
    )
