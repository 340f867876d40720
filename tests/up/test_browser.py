import os
import stat
import subprocess
import sys
from pathlib import Path

from headrace.up.browser import forget

LINK = "http://127.0.0.1:4747/signin?token=canary"
OPEN = """
import sys
from pathlib import Path
from headrace.up.browser import open_chat

open_chat(Path(sys.argv[1]), sys.stdin.read())
"""


def open_chat(folder: Path, **environment: str) -> str | None:
    """What a browser is told in argv, None if none is started."""
    told = folder / "told"
    program = folder / "browser"
    program.write_text(f'#!/bin/sh\nprintf %s "$*" > {told}\n')
    program.chmod(0o700)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    subprocess.run(
        [sys.executable, "-c", OPEN, folder],
        input=LINK,
        text=True,
        env=kept | {"BROWSER": f"{program} %s"} | environment,
        check=True,
    )
    return told.read_text() if told.exists() else None


def test_the_link_stands_in_a_private_page_and_not_in_argv(tmp_path: Path):
    told = open_chat(tmp_path, DISPLAY=":0")
    page = tmp_path / "open-chat.html"
    assert told == page.as_uri()
    assert LINK in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    forget(tmp_path)
    assert not page.exists()


def test_without_a_screen_nothing_is_opened(tmp_path: Path):
    assert open_chat(tmp_path) is None
    forget(tmp_path)
