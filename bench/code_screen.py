"""What the coding screen costs: idle CPU, memory and bytes; bytes and CPU per streamed token.

The screen runs in this process's child on a pseudo-terminal, on a scripted session.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
IDLE_S = 10.0
QUIET_S = 1.0
TOKENS = 1_000
_TICKS_S = os.sysconf("SC_CLK_TCK")

_CHILD = """
import asyncio, sys
from pathlib import Path
from support import screen_script as script

WORDS = {tokens}
TEXT = "Some **bold** words and `code` in a paragraph. " * 4 + "\\n\\n- an item\\n- another\\n\\n"
CODE = "```python\\ndef add(a, b):\\n    return a + b  # sum\\n```\\n\\n"

async def stream(self):
    words = ((TEXT + CODE) * WORDS).split(" ")[:WORDS]
    await self.answer(" ".join(words), {wait_s})

script.ScriptedTalk.do_stream = stream
sys.argv[1:] = [sys.argv[1]]
script.main()
"""


def child(folder: Path, wait_s: float) -> tuple[int, int]:
    """Start the screen; its pid and the terminal's other end."""
    pid, leader = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(ROOT / "tests")
        program = _CHILD.format(tokens=TOKENS, wait_s=wait_s)
        os.execv(sys.executable, [sys.executable, "-c", program, str(folder)])
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return pid, leader


def drained(leader: int, quiet_s: float) -> int:
    """Read until nothing came for so long; how many bytes came."""
    count = 0
    while select.select([leader], [], [], quiet_s)[0]:
        count += len(os.read(leader, 65_536))
    return count


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1_024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, wait_s in (("60 tokens/s", 1 / 60), ("as fast as it goes", 0.0)):
            pid, leader = child(Path(folder), wait_s)
            try:
                first = drained(leader, QUIET_S)
                before = cpu_s(pid)
                idle_bytes = drained(leader, IDLE_S)
                idle = (cpu_s(pid) - before) / IDLE_S
                idle_mb = pss_mb(pid)
                before = cpu_s(pid)
                os.write(leader, b"stream\r")
                streamed = drained(leader, QUIET_S)
                spent = cpu_s(pid) - before
                print(f"{name}")
                print(f"  first paint to ready   {first:>8} bytes")
                print(f"  idle                   {idle_bytes:>8} bytes, {idle:.2%} CPU")
                print(f"  memory idle            {idle_mb:>8.1f} MB, after {pss_mb(pid):.1f} MB")
                print(f"  a streamed token       {streamed / TOKENS:>8.1f} bytes")
                print(f"  1,000 streamed tokens  {spent * 1_000 / TOKENS:>8.2f} s CPU")
                os.write(leader, b"\x04")
                time.sleep(QUIET_S)
            finally:
                os.close(leader)
                os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
