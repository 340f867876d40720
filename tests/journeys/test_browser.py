"""The browser and the real default model: sign in, ask, watch, reload, stop, ask again."""

import re
from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, Page, expect

from support.running import Running

pytestmark = [pytest.mark.browser, pytest.mark.model]

STORY = "Tell me a very long story about a river, as long as you can."


@pytest.fixture
def page(chromium: Browser, house: Running) -> Generator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
    opened.goto(house.new_sign_in_link())
    expect(opened.locator("textarea")).to_be_visible()
    yield opened
    context.close()
    assert complaints == []


def ask(page: Page, text: str) -> None:
    page.locator("textarea").fill(text)
    page.keyboard.press("Enter")


def grown(page: Page, characters: int) -> None:
    """Wait until the answer on the page is that long."""
    expect(page.locator(".md")).to_have_text(re.compile(f".{{{characters}}}", re.DOTALL))


def test_the_model_answers_and_the_receipt_is_true(page: Page):
    ask(page, "What is the capital of France? Answer in one sentence.")
    receipt = page.get_by_role("button", name="Receipt")
    expect(receipt).to_be_visible(timeout=60_000)
    receipt.click()
    region = page.get_by_role("region", name="Receipt")
    expect(region.get_by_text("smollm2-135m-instruct")).to_be_visible()
    expect(region.get_by_text("tokens/s")).to_be_visible()


def test_an_answer_streams_survives_a_reload_and_is_stopped(page: Page):
    ask(page, STORY)
    grown(page, 200)
    page.reload()
    grown(page, 500)
    page.get_by_role("button", name="Stop answering").click()
    expect(page.get_by_role("button", name="Continue")).to_be_visible(timeout=10_000)
    kept = page.locator(".md").inner_text()
    page.reload()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    assert page.locator(".md").inner_text() == kept


def test_answering_again_makes_a_second_version(page: Page):
    ask(page, "Say hello in five words.")
    again = page.get_by_role("button", name="Answer again")
    expect(again).to_be_visible(timeout=60_000)
    again.click()
    expect(page.get_by_role("group", name="Answer 2 of 2")).to_be_visible(timeout=60_000)
