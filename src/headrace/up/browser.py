"""Opening the chat in the browser of whoever runs `headrace up`."""

import os
import sys
from html import escape
from pathlib import Path

_FILE = "open-chat.html"


def open_chat(data: Path, link: str) -> None:
    """Show the chat, where there is a screen; blocks for as long as the browser takes to start.

    The link signs in, and every user of a machine may read what stands in argv. So the browser
    is sent to a page in the private folder, which leads on to the link.

    Args:
        data: The data folder.
        link: The address with a one-time token.
    """
    if not _has_screen():
        return
    import webbrowser  # noqa: PLC0415 - only with a screen

    page = data / _FILE
    page.unlink(missing_ok=True)
    descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="refresh" content="0;url={escape(link)}"><title>Headrace</title>'
            f'<a href="{escape(link)}">Open the chat</a>\n'
        )
    webbrowser.open(page.absolute().as_uri())


def forget(data: Path) -> None:
    """Take the page away."""
    (data / _FILE).unlink(missing_ok=True)


def _has_screen() -> bool:
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
