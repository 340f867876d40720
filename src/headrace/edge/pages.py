"""Pages of our own words, without scripts and styles: what went wrong, and what to do."""

from html import escape

from starlette.responses import HTMLResponse, Response

CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


def page(title: str, text: str, *, status: int) -> Response:
    """A page.

    Args:
        title: Its heading, as text.
        text: Its words, as HTML: what others wrote must be escaped.
        status: The status that it comes with.
    """
    heading = escape(title)
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Headrace: {heading}</title><main><h1>{heading}</h1><p>{text}</p></main></html>"
    )
    headers = {"content-security-policy": CONTENT_POLICY, "cache-control": "no-store"}
    return HTMLResponse(html, status_code=status, headers=headers)
