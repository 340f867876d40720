import subprocess
import sys

SHOW = """
import resource
from headrace.up.server import allow_connections

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2_000))
allow_connections()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_as_many_files_may_be_open_as_the_system_allows():
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, check=True
    ).stdout
    assert shown.split() == ["2000", "2000"]
