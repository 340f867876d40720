"""The ledger's pages in a real browser, on a real server with calls that were paid for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from headrace.core.money import NanoDollars, format_usd
from support.ledger_data import Ledger
from support.running import Running

from .conftest import Watched, go

pytestmark = pytest.mark.browser

PAGES = {
    "spend": "Spend",
    "spend?by=day": "Spend",
    "economics": "Economics",
    "economics?view=units": "Economics",
    "economics?view=burn": "Economics",
    "economics?view=payback": "Economics",
    "economics?view=breakeven": "Economics",
    "economics?view=cache": "Economics",
    "economics?view=machines": "Economics",
    "receipts": "Receipts",
    "traffic": "Live traffic",
    "models": "Models",
    "budgets": "Budgets and limits",
    "prices": "Prices and machines",
    "keys": "Keys",
    "accounts": "Accounts and teams",
    "balances": "Balances",
    "audit": "Audit log",
    "account": "My account",
}
# What a screen reader must be told: names of controls, heads of tables, one first heading.
UNNAMED = """() => {
  const name = (one) => one.getAttribute('aria-label') ?? (
    (one.labels?.length ? [...one.labels].map((label) => label.textContent).join(' ') : '')
    + one.textContent);
  const wrong = [...document.querySelectorAll('button, a[href], input, select, [role=img]')]
    .filter((one) => !name(one).trim());
  const heads = [...document.querySelectorAll('th')].filter((one) => !one.scope);
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
  const firsts = document.querySelectorAll('h1').length;
  const styled = document.querySelectorAll('main [style]:not(.m-tip)');
  return [...wrong, ...heads, ...styled].map((one) => one.outerHTML.slice(0, 200))
    .concat(twice, firsts === 1 ? [] : [`${firsts} first headings`]);
}"""


@pytest.mark.parametrize("place", PAGES)
def test_each_page_shows_itself_whole(view: Page, served: Running, place: str):
    go(view, served, place)
    expect(view.get_by_role("heading", name=PAGES[place], level=1, exact=True)).to_be_visible()
    expect(view.get_by_role("alert")).to_have_count(0)
    expect(view.locator("nav [aria-current=page]")).to_have_text(PAGES[place])
    assert view.evaluate(UNNAMED) == []


def test_every_figure_drills_down_to_its_receipt(view: Page, served: Running, books: Ledger):
    go(view, served, "spend?span=7")
    view.get_by_role("link", name="teller", exact=True).click()
    view.wait_for_url(re.compile(r"/manage/receipts\?.*model_id=teller"))
    filtered = view.get_by_role("list", name="Narrowed to")
    expect(filtered).to_contain_text("teller")
    rows = view.get_by_role("region", name="Receipts").get_by_role("row")
    expect(rows).to_have_count(4)  # three calls under a head
    rows.nth(1).get_by_role("link").click()
    expect(view).to_have_url(f"{served.url}/manage/receipts/{books.receipt_id}")
    expect(view.get_by_role("heading", name="Receipt", level=1)).to_be_focused()
    expect(view.get_by_text(books.receipt_id, exact=True)).to_be_visible()
    for label in ("Charged", "Cost", "Held", "Cached input", "First token", "Release"):
        expect(view.get_by_text(label, exact=True).first).to_be_visible()
    view.go_back()
    expect(filtered).to_be_visible()
    view.get_by_role("button", name="Take the filter Model away").click()
    expect(view).not_to_have_url(re.compile("model_id"))


def test_sums_are_those_of_the_receipts_to_the_nano_dollar(
    view: Page, served: Running, books: Ledger
):
    listed = books.owner.call("GET", "/admin/receipts").data["receipts"]
    charged = sum(one["price_nano"] for one in listed)
    go(view, served, "spend")
    figure = view.locator(".m-figures > div").first
    expect(figure.locator("small")).to_have_text(format_usd(NanoDollars(charged)))


def test_the_plot_is_read_by_keyboard(view: Page, served: Running):
    go(view, served, "spend?span=7")
    plot = view.get_by_role("slider", name="Plot: Charged")
    plot.focus()
    tip = view.locator(".m-tip")
    expect(tip).to_contain_text("teller")
    assert "teller $0.0" in (plot.get_attribute("aria-valuetext") or "")
    view.keyboard.press("ArrowLeft")
    expect(tip).to_contain_text("$0")
    assert plot.input_value() == "5"
    view.get_by_text("Show as a table").click()
    expect(view.get_by_role("region", name="Charged").get_by_role("row")).to_have_count(8)


def test_the_keyboard_alone_makes_a_budget(view: Page, served: Running):
    go(view, served, "spend")
    view.keyboard.press("Tab")
    expect(view.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(20):
        view.keyboard.press("Tab")
        if view.evaluate("document.activeElement.textContent.trim()") == "Budgets and limits":
            break
    view.keyboard.press("Enter")
    heading = view.get_by_role("heading", name="Budgets and limits", level=1)
    expect(heading).to_be_focused()
    view.keyboard.press("Tab")
    view.keyboard.press("Enter")
    sheet = view.get_by_role("dialog", name="New budget")
    expect(sheet).to_be_visible()
    view.keyboard.press("Tab")
    view.keyboard.press("Tab")
    view.keyboard.press("Tab")
    view.keyboard.type("12.345678901")
    view.keyboard.press("Enter")
    expect(sheet).to_be_hidden()
    expect(view.get_by_text(re.compile(r"of \$12\.35"))).to_be_visible()
    expect(view.get_by_role("button", name="New budget")).to_be_focused()


def test_a_refused_form_says_why_and_stays(view: Page, served: Running):
    go(view, served, "budgets")
    view.get_by_role("button", name="New budget").click()
    sheet = view.get_by_role("dialog")
    sheet.get_by_label("Amount in US dollars").fill("a lot")
    sheet.get_by_role("button", name="Create").click()
    expect(sheet.get_by_role("alert")).to_contain_text("such as 12.50")
    view.keyboard.press("Escape")
    expect(sheet).to_be_hidden()


def test_a_key_is_made_shown_once_rotated_and_revoked(view: Page, served: Running):
    go(view, served, "account")
    view.get_by_role("button", name="New key").click()
    sheet = view.get_by_role("dialog")
    sheet.get_by_label("Name").fill("browser key")
    sheet.get_by_text("Scopes: what the key may be used for").click()
    sheet.get_by_label("Models (patterns such as qwen*)").fill("tell*")
    sheet.get_by_label("chat", exact=True).check()
    sheet.get_by_role("button", name="Create").click()
    told = view.get_by_role("dialog", name="Copy the secret now")
    first = told.locator("code").inner_text()
    assert re.fullmatch(r"hr-[\w-]{43}", first)
    told.get_by_role("button", name="Done").click()
    expect(told).to_have_count(0)
    row = view.get_by_role("row", name="browser key")
    expect(row).to_contain_text("tell* · chat")
    # The dialog leaves the page a moment after it has closed, and the secret with it.
    expect(view.get_by_text(first)).to_have_count(0)
    assert first not in view.content()

    row.get_by_role("button", name="Rotate").click()
    view.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    assert told.locator("code").inner_text() != first
    told.get_by_role("button", name="Done").click()
    row.get_by_role("button", name="Revoke").click()
    view.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)


def test_what_cannot_be_read_offers_another_try(desk: BrowserContext, served: Running):
    page = desk.new_page()
    page.route("**/admin/balances", lambda route: route.abort())
    page.goto(f"{served.url}/manage/balances")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    page.unroute("**/admin/balances")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("balanced", exact=True)).to_be_visible()
    page.close()


def test_an_empty_view_says_what_would_fill_it(view: Page, served: Running):
    go(view, served, "spend?from=2020-01-01&to=2020-01-31")
    expect(view.get_by_text("No calls in this span")).to_be_visible()
    go(view, served, "nowhere")
    expect(view.get_by_role("link", name="Spend", exact=True).last).to_be_visible()


@pytest.mark.parametrize(
    ("width", "zoom", "theme"),
    [(390, 1, "light"), (640, 2, "dark")],
    ids=["phone", "zoomed to 200 %, dark"],
)
def test_narrow_pages_do_not_scroll_sideways(
    desk: BrowserContext, served: Running, width: int, zoom: int, theme: Any
):
    assert desk.browser is not None
    context = desk.browser.new_context(
        storage_state=desk.storage_state(),
        viewport={"width": width, "height": 800},
        device_scale_factor=zoom,
        color_scheme=theme,
    )
    page = context.new_page()
    watched = Watched(page, served.url)
    for place in PAGES:
        go(page, served, place)
        wide = "document.querySelector('main').scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0, place
    page.get_by_role("button", name="Open sidebar").click()
    drawer = page.get_by_role("dialog", name="Ledger")
    drawer.get_by_role("link", name="Balances").click()
    expect(drawer).to_be_hidden()
    expect(page.get_by_role("heading", name="Balances", level=1)).to_be_visible()
    watched.check()
    context.close()


def test_without_a_session_it_leads_to_the_sign_in_and_back(chromium: Browser, served: Running):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{served.url}/manage/receipts?span=7")
    page.wait_for_url(re.compile("/sign-in"))
    assert page.url == f"{served.url}/sign-in?next=%2Fmanage%2Freceipts%3Fspan%3D7"
    page.get_by_label("E-mail").fill("nobody@mill.example")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("do not fit together")
    context.close()


def test_the_first_page_loads_none_of_it(view: Page, served: Running):
    asked: list[str] = []
    view.on("request", lambda request: asked.append(Path(request.url).name))
    view.goto(served.url)
    expect(view.locator("textarea")).to_be_visible()
    assert [name for name in asked if name.startswith(("Manage", "SignIn"))] == []


def test_exports_are_the_report(view: Page, served: Running):
    go(view, served, "spend")
    with view.expect_download() as download:
        view.get_by_role("link", name="JSON").click()
    read = json.loads(download.value.path().read_text())
    assert [row["id"] for row in read["rows"]] == ["teller"]
