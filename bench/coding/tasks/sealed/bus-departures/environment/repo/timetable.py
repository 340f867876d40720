"""The timetable of one bus stop; times are minutes after midnight."""

DAY = 24 * 60


def minutes(text):
    """Minutes of a time written as 05:10."""
    hours, rest = text.split(":")
    return int(hours) * 60 + int(rest)


class Timetable:
    def __init__(self, times):
        self.departures = sorted(minutes(time) for time in times)
        if not self.departures:
            raise ValueError("a timetable needs a departure")

    def next_bus(self, now):
        """The departure at or after `now`."""
        return next(time for time in self.departures if time >= now)

    def wait(self, now):
        """How many minutes it takes until the next bus."""
        return self.next_bus(now) - now
