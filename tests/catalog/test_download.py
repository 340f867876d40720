import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.catalog import download, fetching
from headrace.catalog.library import Library
from headrace.core.errors import CatalogError
from support.origin import COMMIT, Origin

_DIE_IN_MID_DOWNLOAD = """
import os, signal, sys
from pathlib import Path
from headrace.catalog.library import Library

def progress(done, total, what):
    if done > 300_000:
        os.kill(os.getpid(), signal.SIGKILL)

Library(Path(sys.argv[1])).pull(sys.argv[2], progress=progress)
"""


def _partial(library_data: Path, model: str = "tiny") -> Path:
    return library_data / "models" / ".partial" / model / "tiny.gguf.partial"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


class TestWeb:
    @pytest.fixture
    def url(self, server: Origin, tiny: bytes) -> str:
        server.files["/models/tiny.gguf"] = tiny
        return f"{server.url}/models/tiny.gguf"

    def test_a_file_comes_whole(self, library: Library, url: str, tiny: bytes, tiny_digest: str):
        seen: list[tuple[int, int | None, str]] = []
        installed = library.pull(
            url, progress=lambda done, total, what: seen.append((done, total, what))
        )
        assert installed.path.read_bytes() == tiny
        assert installed.card.digest == tiny_digest
        assert installed.card.source == url
        assert seen[0][2] == "downloading"
        assert (len(tiny), len(tiny), "downloading") in seen

    def test_a_pinned_digest_is_checked_and_kept(
        self, library: Library, url: str, tiny_digest: str
    ):
        pinned = f"{url}#sha256={tiny_digest.removeprefix('sha256:')}"
        assert library.pull(pinned).card.source == pinned

    def test_a_wrong_digest_is_refused_and_thrown_away(
        self, library: Library, url: str, tiny_digest: str, data: Path
    ):
        with pytest.raises(CatalogError) as caught:
            library.pull(f"{url}#sha256={'0' * 64}")
        assert f"sha256:{'0' * 64} was expected" in caught.value.message
        assert tiny_digest in caught.value.message
        assert caught.value.hint is not None
        assert library.list() == ()
        assert not _partial(data).exists()

    @pytest.mark.parametrize("cuts", [[10], [300_000], [1, 1, 1, 1, 1], [262_144, 100_000, 5]])
    def test_cut_connections_are_taken_up_again(
        self, library: Library, server: Origin, url: str, tiny: bytes, cuts: list[int]
    ):
        server.cut_after = list(cuts)
        assert library.pull(url).path.read_bytes() == tiny
        starts = [seen.headers.get("range") for seen in server.gets()]
        assert starts == [None, *(f"bytes={sum(cuts[: n + 1])}-" for n in range(len(cuts)))]

    def test_a_killed_download_continues_in_the_next_run(
        self, library: Library, server: Origin, url: str, tiny: bytes, data: Path
    ):
        died = subprocess.run(
            [sys.executable, "-c", _DIE_IN_MID_DOWNLOAD, str(data), url], check=False
        )
        assert died.returncode == -9
        held = _partial(data).stat().st_size
        assert 0 < held < len(tiny)
        assert library.list() == ()
        assert library.pull(url).path.read_bytes() == tiny
        assert server.gets()[-1].headers["range"] == f"bytes={held}-"

    def test_an_interrupted_download_continues(
        self, library: Library, server: Origin, url: str, tiny: bytes
    ):
        def interrupt(done: int, _total: int | None, _what: str) -> None:
            if done > 300_000:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            library.pull(url, progress=interrupt)
        assert library.pull(url).path.read_bytes() == tiny
        assert "range" in server.gets()[-1].headers

    def test_a_file_that_changed_meanwhile_starts_afresh(
        self, library: Library, server: Origin, url: str, tiny: bytes
    ):
        def interrupt(done: int, _total: int | None, _what: str) -> None:
            if done > 300_000:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            library.pull(url, progress=interrupt)
        changed = tiny[:-4] + b"else"
        server.files["/models/tiny.gguf"] = changed
        assert library.pull(url).path.read_bytes() == changed

    def test_without_a_validator_a_cut_download_starts_afresh(
        self, library: Library, server: Origin, url: str, tiny: bytes
    ):
        server.etags = False
        server.cut_after = [300_000]
        assert library.pull(url).path.read_bytes() == tiny
        assert all("range" not in seen.headers for seen in server.gets())

    def test_a_length_that_nobody_told_is_no_hindrance(
        self, library: Library, server: Origin, url: str, tiny: bytes
    ):
        server.lengths = False
        assert library.pull(url).path.read_bytes() == tiny

    def test_a_busy_server_is_asked_again(
        self, library: Library, server: Origin, url: str, tiny: bytes
    ):
        server.status = [503, 429, 500]
        assert library.pull(url).path.read_bytes() == tiny

    def test_a_server_that_stays_busy_is_given_up(self, library: Library, server: Origin, url: str):
        server.status = [503] * 9
        with pytest.raises(CatalogError, match="broke off at 0 bytes: the server answers 503"):
            library.pull(url)
        assert len(server.gets()) == 5

    @pytest.mark.parametrize(
        ("status", "why"), [(404, "no such file"), (403, "refuses access"), (400, "answers 400")]
    )
    def test_a_final_answer_is_not_asked_again(
        self, library: Library, server: Origin, url: str, status: int, why: str
    ):
        server.status = [status]
        with pytest.raises(CatalogError, match=why):
            library.pull(url)
        assert len(server.gets()) == 1

    def test_nobody_there_is_said(self, library: Library):
        with pytest.raises(CatalogError, match="broke off at 0 bytes"):
            library.pull("http://127.0.0.1:9/tiny.gguf")

    def test_redirects_stay_safe(self, library: Library, server: Origin, url: str):
        server.redirects["/a/tiny.gguf"] = url
        assert library.pull(f"{server.url}/a/tiny.gguf").card.model_id == "tiny"
        server.redirects["/b/tiny.gguf"] = "http://models.example.org/tiny.gguf"
        with pytest.raises(CatalogError, match="https only"):
            library.pull(f"{server.url}/b/tiny.gguf", name="b")
        server.redirects["/c/tiny.gguf"] = "file:///etc/passwd"
        with pytest.raises(CatalogError, match="answers 302"):
            library.pull(f"{server.url}/c/tiny.gguf", name="c")

    def test_a_page_in_place_of_a_model_is_refused(
        self, library: Library, server: Origin, data: Path
    ):
        server.files["/tiny.gguf"] = b"<html>Please sign in</html>"
        with pytest.raises(CatalogError, match="begins with b'<htm'"):
            library.pull(f"{server.url}/tiny.gguf")
        assert not _partial(data).exists()

    def test_a_file_over_the_limit_is_refused_before_it_is_written(
        self, library: Library, url: str, data: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(download, "MODEL_BYTES_MAX", 1_000)
        with pytest.raises(CatalogError, match="is over 1,000"):
            library.pull(url)
        assert not _partial(data).exists()

    def test_a_full_disk_is_seen_beforehand(
        self, library: Library, url: str, data: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(fetching, "_SPARE_BYTES", 1 << 60)
        with pytest.raises(CatalogError, match="are free"):
            library.pull(url)
        assert not _partial(data).exists()


class TestHub:
    SOURCE = "hf:someone/tiny-gguf/tiny.gguf"

    @pytest.fixture
    def hub(
        self, server: Origin, cdn: Origin, tiny: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> Origin:
        for revision in ("main", COMMIT):
            server.hub_files[f"/someone/tiny-gguf/resolve/{revision}/tiny.gguf"] = tiny
        server.cdn = cdn
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", "hf_canary")
        return server

    @pytest.mark.usefixtures("hub")
    def test_the_commit_is_pinned_and_the_digest_checked(
        self, library: Library, tiny: bytes, tiny_digest: str
    ):
        installed = library.pull(self.SOURCE)
        assert installed.path.read_bytes() == tiny
        assert installed.card.digest == tiny_digest
        assert installed.card.source == f"{self.SOURCE}@{COMMIT}"

    def test_pulling_again_asks_nobody(self, library: Library, hub: Origin):
        library.pull(self.SOURCE)
        hub.seen.clear()
        library.pull(self.SOURCE)
        assert hub.seen == []

    def test_the_token_goes_to_the_hub_and_nowhere_else(
        self, library: Library, hub: Origin, cdn: Origin
    ):
        library.pull(self.SOURCE)
        assert {seen.headers.get("authorization") for seen in hub.seen} == {"Bearer hf_canary"}
        assert cdn.gets()
        assert all("authorization" not in seen.headers for seen in cdn.seen)

    def test_a_cut_download_continues_at_the_same_place(
        self, library: Library, hub: Origin, cdn: Origin, tiny: bytes
    ):
        del hub
        cdn.cut_after = [300_000, 200_000]
        assert library.pull(self.SOURCE).path.read_bytes() == tiny
        assert [seen.headers.get("range") for seen in cdn.gets()] == [
            None,
            "bytes=300000-",
            "bytes=500000-",
        ]

    def test_an_altered_file_is_refused(self, library: Library, hub: Origin, tiny_digest: str):
        hub.hub_digest = "0" * 64
        with pytest.raises(CatalogError, match="is not the expected file") as caught:
            library.pull(self.SOURCE)
        assert tiny_digest in caught.value.message
        assert library.list() == ()

    @pytest.mark.parametrize("status", [401, 403, 404, 500])
    def test_a_refusal_names_the_hub_and_not_the_token(
        self, library: Library, hub: Origin, status: int
    ):
        hub.status = [status] * 9
        with pytest.raises(CatalogError) as caught:
            library.pull(self.SOURCE)
        assert "hf_canary" not in f"{caught.value.message} {caught.value.hint}"
        assert str(status) in caught.value.message

    def test_a_hub_that_is_not_there_is_said(
        self, library: Library, hub: Origin, monkeypatch: pytest.MonkeyPatch
    ):
        del hub
        template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        with pytest.raises(CatalogError, match="cannot be asked"):
            library.pull(self.SOURCE)


def test_the_download_of_a_real_process_says_what_happened(
    server: Origin, tiny: bytes, tmp_path: Path
):
    server.files["/tiny.gguf"] = tiny
    server.cut_after = [100_000]
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "models", "pull", f"{server.url}/tiny.gguf"],
        env={**os.environ, "HEADRACE_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tiny is installed: Tiny" in done.stdout
    assert "downloading 100 %" in done.stderr
