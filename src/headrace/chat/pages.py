"""The built web client, and the page that stands in where there is none."""

from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from headrace.core.errors import NotFound
from headrace.edge.pages import CONTENT_POLICY, page
from headrace.edge.routes import Rule, RuledRoute, route

STATIC = Path(__file__).parent / "static"

# Names of assets carry a hash of their content.
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
# What the client shows; the pages hold no data, which comes by routes with stricter rules.
_PLACES = ("/c/{conversation}", "/manage", "/manage/{page:path}", "/sign-in")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


def page_routes(static: Path = STATIC) -> list[RuledRoute]:
    """Routes of the client's files. Its pages differ by path only; the client reads it.

    Args:
        static: The folder it was built into; looked through once.
    """
    files = {
        path.relative_to(static).as_posix(): path
        for path in sorted(static.rglob("*"))
        if path.is_file() and path.suffix in _TYPES
    }
    index = partial(_file, path=files.get("index.html"))

    async def asset(request: Request) -> Response:
        # A look-up among known names: no path of a request ever reaches the file system.
        path = files.get(request.url.path.removeprefix("/"))
        if path is None:
            raise NotFound(f"there is no {request.url.path}")
        return await _file(request, path)

    top = [name for name in files if "/" not in name and name != "index.html"]
    return [
        route("/", index, methods=["GET"], rule=Rule.PUBLIC),
        *(route(path, index, methods=["GET"], rule=Rule.PUBLIC) for path in _PLACES),
        route("/assets/{name:path}", asset, methods=["GET"], rule=Rule.PUBLIC),
        *(route(f"/{name}", asset, methods=["GET"], rule=Rule.PUBLIC) for name in top),
    ]


async def _file(request: Request, path: Path | None) -> Response:
    if path is None:
        return page(
            "The chat page is not built",
            "This is a source checkout without the built page. In its folder, run"
            " <code>npm --prefix web ci</code> and <code>npm --prefix web run build</code>,"
            " then start Headrace again. The API works meanwhile.",
            status=503,
        )
    headers = {
        "content-security-policy": CONTENT_POLICY,
        "cache-control": _FOR_EVER if path.parent.name == "assets" else _ASK_AGAIN,
        "vary": "accept-encoding",
    }
    packed = path.with_name(f"{path.name}.gz")
    if "gzip" in request.headers.get("accept-encoding", "") and packed.is_file():
        headers["content-encoding"] = "gzip"
        return FileResponse(packed, headers=headers, media_type=_TYPES[path.suffix])
    return FileResponse(path, headers=headers, media_type=_TYPES[path.suffix])
