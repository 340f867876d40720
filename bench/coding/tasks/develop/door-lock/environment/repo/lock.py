"""A code lock: closed, open or blocked."""

CLOSED, OPEN, BLOCKED = "closed", "open", "blocked"


class Lock:
    def __init__(self, code, tries=3):
        self._code = code
        self._tries = tries
        self.wrong = 0
        self.state = CLOSED

    def enter(self, code):
        """Try a code; returns whether the door is open."""
        if self.state == BLOCKED:
            return False
        if code == self._code:
            self.state = OPEN
            return True
        self.wrong += 1
        if self.wrong >= self._tries:
            self.state = BLOCKED
        return False

    def close(self):
        if self.state == OPEN:
            self.state = CLOSED

    def service(self, master):
        """The service code unblocks the lock."""
        if master == "0000-service":
            self.state = CLOSED
            self.wrong = 0
