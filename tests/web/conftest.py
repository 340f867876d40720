from collections.abc import Generator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from support.ledger_data import Ledger, keep_books
from support.running import Running, running, write_script

PROSE = "The wheel turns. " * 12
SCRIPT: dict[str, Any] = {
    "model": {"id": "teller", "display_name": "Teller"},
    "token_delay_ms": 4,
    "turns": [
        {"match": {"user": "slowly"}, "steps": [{"text": PROSE, "token_delay_ms": 25}]},
        {"match": {"user": "break"}, "steps": [{"text": "It begins"}, {"cut": True}]},
        {
            "match": {"user": "attack"},
            "steps": [
                {
                    "text": "<img src=x onerror=alert(1)> <script>alert(1)</script>\n\n"
                    "[run](javascript:alert(1)) [out](/chat/sign-out)"
                    " ![pixel](https://tracker.example/p.png)\n\n"
                    "```py\nprint('<b>')\n```\n"
                }
            ],
        },
    ],
}


@pytest.fixture(scope="session")
def teller(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A served script of answers, for the page to show."""
    folder = tmp_path_factory.mktemp("page")
    with running(folder / "data", write_script(folder / "script.json", SCRIPT)) as started:
        yield started


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, teller: Running) -> Generator[BrowserContext]:
    """A browser whose cookie is good; links work once."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(teller.sign_in_link)
    page.wait_for_selector("textarea")
    page.close()
    yield context
    context.close()


class Watched:
    """What a page must not do, noted while it is used."""

    def __init__(self, page: Page, url: str) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._url = url
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))

    def check(self) -> None:
        """Asked no other host, and nobody complained: no error, no breach of the policy."""
        assert [url for url in self.requests if not url.startswith(self._url)] == []
        assert self.complaints == []


@pytest.fixture
def page(signed_in: BrowserContext, teller: Running) -> Generator[Page]:
    """A new chat in a tab of its own."""
    made = signed_in.new_page()
    watched = Watched(made, teller.url)
    made.goto(teller.url)
    made.wait_for_selector("textarea")
    yield made
    watched.check()
    made.close()


LEDGER_SCRIPT: dict[str, Any] = {
    "model": {"id": "teller", "display_name": "Teller"},
    "turns": [{"steps": [{"text": "The wheel turns."}]}],
}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server whose calls are paid for."""
    folder = tmp_path_factory.mktemp("manage")
    with running(folder / "data", write_script(folder / "script.json", LEDGER_SCRIPT)) as started:
        yield started


@pytest.fixture(scope="session")
def books(served: Running) -> Ledger:
    """What stands in its ledger."""
    return keep_books(served)


@pytest.fixture(scope="module")
def desk(chromium: Browser, served: Running, books: Ledger) -> Generator[BrowserContext]:
    """A browser in which its owner is signed in."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    name, _, value = books.owner.cookie.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": served.url}])
    yield context
    context.close()


@pytest.fixture
def view(desk: BrowserContext, served: Running) -> Generator[Page]:
    """A tab of that browser, watched for complaints."""
    made = desk.new_page()
    watched = Watched(made, served.url)
    yield made
    watched.check()
    made.close()


def go(page: Page, served: Running, place: str) -> None:
    """Open a view of the ledger and wait until it is whole."""
    page.goto(f"{served.url}/manage/{place}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("Reading…")).to_have_count(0)
