"""Somebody is invited, chooses a password, comes back by it, and sees what is theirs only."""

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from support.ledger_data import call, keep_books
from support.running import Running, running, write_script

pytestmark = pytest.mark.browser

PASSWORD = "slow water turns big wheels"
SCRIPT: dict[str, Any] = {
    "model": {"id": "teller", "display_name": "Teller"},
    "turns": [{"steps": [{"text": "The wheel turns."}]}],
}


@pytest.fixture
def served(tmp_path: Path) -> Generator[Running]:
    with running(tmp_path / "data", write_script(tmp_path / "script.json", SCRIPT)) as started:
        yield started


@pytest.fixture
def page(chromium: Browser) -> Generator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def invite(page: Page, served: Running) -> str:
    """What the owner does: a viewer is invited; returns the link for them."""
    page.goto(served.new_sign_in_link())
    page.get_by_role("button", name="Account").click()
    page.get_by_role("button", name="Ledger and account").click()
    page.get_by_role("link", name="Accounts and teams").click()
    page.get_by_role("button", name="Invite somebody").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Name").fill("Ada Byron")
    sheet.get_by_label("E-mail").fill("ada@mill.example")
    sheet.get_by_role("button", name="Make the link").click()
    told = page.get_by_role("dialog", name="Send this link")
    link = told.locator("code").inner_text()
    told.get_by_role("button", name="Done").click()
    expect(page.get_by_role("row", name="Ada Byron")).to_contain_text("Member")
    return link


def test_from_an_invitation_to_ones_own_receipts(
    page: Page, chromium: Browser, served: Running
) -> None:
    ledger = keep_books(served)
    link = invite(page, served)

    guest = chromium.new_page()
    guest.goto(link)
    expect(guest.get_by_role("heading", name="Welcome, Ada Byron")).to_be_visible()
    guest.get_by_label("New password").fill(PASSWORD)
    guest.get_by_label("The same again").fill(PASSWORD)
    guest.get_by_role("button", name="Set the password").click()
    guest.wait_for_selector("textarea")

    guest.get_by_role("button", name="Account").click()
    guest.get_by_role("button", name="Sign out").click()
    expect(guest.get_by_role("heading", name="Sign in")).to_be_visible()
    guest.get_by_label("E-mail").fill("ada@mill.example")
    guest.get_by_label("Password").fill(PASSWORD)
    guest.keyboard.press("Enter")
    guest.wait_for_selector("textarea")

    # A member sees their own calls, and no views of the others.
    guest.goto(f"{served.url}/manage/account")
    navigation = guest.get_by_role("navigation", name="Ledger").get_by_role("link")
    expect(navigation).to_have_text(["Spend", "Receipts", "My account"])
    guest.get_by_role("button", name="New key").click()
    sheet = guest.get_by_role("dialog")
    sheet.get_by_label("Name").fill("editor")
    sheet.get_by_role("button", name="Create").click()
    told = guest.get_by_role("dialog", name="Copy the secret now")
    call(served, told.locator("code").inner_text())
    told.get_by_role("button", name="Done").click()
    guest.get_by_role("navigation").get_by_role("link", name="Receipts").click()
    rows = guest.get_by_role("region", name="Receipts").get_by_role("row")
    for _ in range(20):  # a receipt is listed once the journal has been projected
        if rows.count():
            break
        guest.reload()
        guest.wait_for_timeout(200)
    expect(rows).to_have_count(2)  # one call under a head, of the four that there were
    guest.goto(f"{served.url}/manage/receipts/{ledger.receipt_id}")
    expect(guest.get_by_role("alert")).to_contain_text("There is no receipt")
    guest.goto(f"{served.url}/manage/audit")
    expect(guest.get_by_role("alert")).to_be_visible()
    guest.close()

    # The owner sees it within the spending of all.
    page.get_by_role("link", name="Spend", exact=True).click()
    page.get_by_label("By", exact=True).select_option("account")
    expect(page.get_by_role("row", name=re.compile("Ada Byron"))).to_be_visible()
