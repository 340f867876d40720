"""Every form of the ledger's pages, filled in and sent to a real server."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from support.ledger_data import Ledger
from support.running import Running

from .conftest import go

pytestmark = pytest.mark.browser


def sheet(view: Page, opener: Locator) -> Locator:
    """The dialog that a button opens."""
    opener.click()
    opened = view.get_by_role("dialog")
    expect(opened).to_be_visible()
    return opened


def send(opened: Locator, name: str) -> None:
    """Press its button; it closes when the server has done it."""
    opened.get_by_role("button", name=name, exact=True).click()
    expect(opened).to_be_hidden()


def row(view: Page, name: str) -> Locator:
    return view.get_by_role("row", name=re.compile(name))


def test_a_budget_is_made_changed_and_ended(view: Page, served: Running):
    go(view, served, "budgets")
    opened = sheet(view, view.get_by_role("button", name="New budget"))
    opened.get_by_label("On").select_option("team")
    opened.get_by_label("Window").select_option("day")
    opened.get_by_label("Amount in US dollars").fill("0.5")
    opened.get_by_label("Hard").uncheck()
    opened.get_by_label("Warn at percent").fill("75")
    send(opened, "Create")
    card = view.get_by_role("listitem").filter(has_text="Team · each day")
    expect(card).to_contain_text("of $0.50 (0 %)")
    expect(card).to_contain_text("warns at 75 %")
    expect(card).to_contain_text("Soft")

    opened = sheet(view, card.get_by_role("button", name="Change"))
    opened.get_by_label("Amount in US dollars").fill("0.75")
    opened.get_by_label("Hard").check()
    send(opened, "Save")
    expect(card).to_contain_text("of $0.75")
    expect(card).to_contain_text("Hard")
    send(sheet(view, card.get_by_role("button", name="End")), "End")
    expect(card).to_have_count(0)


def test_a_limit_is_set_and_removed(view: Page, served: Running):
    go(view, served, "budgets")
    opened = sheet(view, view.get_by_role("button", name="Set a limit"))
    opened.get_by_label("On").select_option("account")
    opened.get_by_label("Limit").select_option("concurrent")
    opened.get_by_label("At most").fill("4")
    send(opened, "Save")
    limit = row(view, "Calls at once")
    expect(limit).to_contain_text("0 / 4")
    send(sheet(view, limit.get_by_role("button", name="Remove")), "Remove")
    expect(limit).to_have_count(0)


def test_a_price_gets_a_later_version(view: Page, served: Running):
    go(view, served, "prices")
    opened = sheet(view, view.get_by_role("button", name="New version for teller"))
    expect(opened.get_by_label("Cached")).to_have_value("0.0375")
    opened.get_by_label("Output").fill("0.70")
    opened.get_by_label("Holds from").fill("2199-01-01")
    send(opened, "Save")
    view.get_by_label("Show former and later versions").check()
    later = row(view, "later")
    expect(later).to_contain_text("$0.7")
    expect(later).to_contain_text("2199")


def test_a_machine_gets_terms_and_a_release_its_cost(view: Page, served: Running):
    go(view, served, "prices")
    opened = sheet(view, view.get_by_role("button", name="Change local"))
    expect(opened.get_by_label("Rent an hour")).to_have_value("1.20")
    opened.get_by_label("Space an hour").fill("0.10")
    send(opened, "Save")
    expect(row(view, "Space an hour 0.10").last).to_be_visible()

    digest = "sha256:" + "ab" * 32
    opened = sheet(view, view.get_by_role("button", name="Add a release"))
    opened.get_by_label("Release").fill(digest)
    opened.get_by_label("Training cost").fill("1200.50")
    opened.get_by_label("Planned tokens").fill("2000000000")
    send(opened, "Save")
    expect(row(view, digest)).to_contain_text("$1,200.50")


def test_people_and_teams_come_change_and_go(view: Page, served: Running):
    go(view, served, "accounts")
    opened = sheet(view, view.get_by_role("button", name="New team"))
    opened.get_by_label("Name").fill("Visitors")
    send(opened, "Create")
    opened = sheet(view, view.get_by_role("button", name="Rename Visitors"))
    opened.get_by_label("Name").fill("Guests")
    send(opened, "Save")

    opened = sheet(view, view.get_by_role("button", name="Add a service"))
    opened.get_by_label("Name").fill("evals")
    opened.get_by_label("Team").select_option(label="Guests")
    send(opened, "Create")
    expect(row(view, "evals")).to_contain_text("Guests")

    opened = sheet(view, view.get_by_role("button", name="Invite somebody"))
    opened.get_by_label("Name").fill("Edsger Wybe")
    opened.get_by_label("E-mail").fill("edsger@mill.example")
    opened.get_by_role("button", name="Make the link").click()
    told = view.get_by_role("dialog", name="Send this link")
    expect(told.locator("code")).to_contain_text("/signin?token=")
    send(told, "Done")
    opened = sheet(view, view.get_by_role("button", name="Change Edsger Wybe"))
    opened.get_by_label("Role").select_option("viewer")
    send(opened, "Save")
    expect(row(view, "Edsger Wybe")).to_contain_text("Viewer")

    send(sheet(view, view.get_by_role("button", name="Close Edsger Wybe")), "Close")
    view.get_by_label("Show closed accounts").check()
    opened = sheet(view, view.get_by_role("button", name="Erase Edsger Wybe"))
    expect(opened).to_contain_text("What stays: receipts, entries and the audit log.")
    send(opened, "Erase")
    expect(row(view, "Edsger Wybe")).to_have_count(0)
    send(sheet(view, view.get_by_role("button", name="Remove Guests")), "Remove")
    expect(row(view, "evals")).to_contain_text("no team")


def test_a_refund_stands_under_its_receipt(view: Page, served: Running, books: Ledger):
    go(view, served, f"receipts/{books.receipt_id}")
    opened = sheet(view, view.get_by_role("button", name="Refund"))
    opened.get_by_label("Reason").select_option("test")
    send(opened, "Refund")
    for _ in range(20):  # it is shown once the journal has been projected
        if view.get_by_role("heading", name="Refund").count():
            break
        view.reload()
        view.wait_for_timeout(200)
    expect(view.get_by_role("region", name="Refund")).to_contain_text("revenue:teller")
