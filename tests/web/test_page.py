"""The page in a real browser, on a real server with scripted answers."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from support.running import Running

pytestmark = pytest.mark.browser


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def answered(page: Page) -> None:
    expect(page.get_by_role("button", name="Receipt")).to_be_visible(timeout=15_000)


def test_without_a_session_it_says_how_to_sign_in(chromium: Browser, teller: Running):
    page = chromium.new_page()
    page.goto(teller.url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("headrace up")).to_be_visible()
    page.close()


def test_an_answer_survives_a_reload_in_mid_stream(page: Page):
    ask(page, "tell slowly")
    page.wait_for_url(re.compile("/c/"))
    expect(page.get_by_role("log")).to_contain_text("The wheel turns. The")
    page.reload()
    answered(page)
    assert page.locator(".md").inner_text().strip() == ("The wheel turns. " * 12).strip()


def test_stop_answer_again_and_siblings(page: Page):
    ask(page, "tell slowly")
    expect(page.get_by_role("log")).to_contain_text("The wheel turns. The")
    page.keyboard.press("Escape")
    expect(page.get_by_text("Stopped.", exact=True).first).to_be_visible()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()

    page.get_by_role("button", name="Answer again").click()
    answered(page)
    expect(page.get_by_role("group", name="Answer 2 of 2")).to_be_visible()
    page.get_by_role("button", name="Previous answer").click()
    expect(page.get_by_role("group", name="Answer 1 of 2")).to_be_visible()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()


def test_the_receipt_is_shown_on_demand(page: Page):
    ask(page, "hello")
    answered(page)
    page.get_by_role("button", name="Receipt").click()
    receipt = page.get_by_role("region", name="Receipt")
    for label in ("Input", "Cached", "Output", "First token", "Cost", "Generation"):
        expect(receipt.get_by_text(label, exact=True)).to_be_visible()


def test_a_failed_answer_offers_the_next_step(page: Page):
    ask(page, "break")
    expect(page.get_by_text("The answer failed.").first).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_hostile_answer_runs_nothing_and_calls_nobody(page: Page):
    ask(page, "attack")
    answered(page)
    prose = page.locator(".md")
    assert "<script>alert(1)</script>" in prose.inner_text()
    assert prose.locator("img, script").count() == 0
    assert prose.locator("a[href]").evaluate_all("links => links.map(l => l.href)") == [
        "https://tracker.example/p.png"
    ]
    expect(prose).to_contain_text("pixel (tracker.example)")
    expect(prose.locator(".hljs-string")).to_have_text("'<b>'")


def test_conversations_are_renamed_and_deleted(page: Page):
    ask(page, "hello again")
    answered(page)
    options = page.locator("header").get_by_role("button", name="Options of")
    options.click()
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Title").fill("Mill stories")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Mill stories")).to_be_visible()
    expect(options).to_be_focused()

    options.click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    expect(page.get_by_role("link", name="Mill stories")).to_have_count(0)


def test_a_draft_outlives_a_reload(page: Page):
    page.get_by_label("Message", exact=True).fill("half a thought")
    page.reload()
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a thought")


def test_keys_and_theme(page: Page):
    conversations = page.get_by_role("complementary", name="Conversations")
    page.keyboard.press("Control+b")
    expect(conversations).to_have_count(0)
    page.keyboard.press("Control+b")
    expect(conversations).to_be_visible()
    page.get_by_role("button", name="Account").click()
    page.get_by_label("Dark").check(force=True)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_on_a_phone_the_list_is_a_drawer(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Open sidebar").click()
    drawer = page.get_by_role("dialog", name="Conversations")
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
