import errno
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub.utils import http_backoff

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.files import UNWRITABLE
from pipeline.data import fetch as fetch_module
from pipeline.data.fetch import fetch
from pipeline.data.hub import _library_tries_once

CONTENT = bytes(range(256)) * 12_000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; what the server's ``mood`` says goes wrong first."""

    def do_GET(self):
        server = self.server
        server.requests.append(self.headers.get("Range"))
        mood = server.moods.pop(0) if server.moods else "well"
        if isinstance(mood, int):
            self.send_error(mood)
            return
        if mood.startswith("redirect:"):
            self.send_response(302)
            self.send_header("Location", mood.removeprefix("redirect:"))
            self.end_headers()
            return
        start = self.start() if mood != "no-ranges" else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = start + 1_500_000 if mood in {"cut", "stuck"} else len(CONTENT)
        with suppress(ConnectionError):  # whoever asked was killed
            self.wfile.write(CONTENT[start:stop])
        if mood == "stuck":
            server.released.wait(30)

    def start(self):
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch_module, "BACKOFF_SECONDS", (0.0, 0.0, 0.0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.moods, server.requests, server.released = [], [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/weights.pt"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once(server, tmp_path):
    path = tmp_path / "deep" / "weights.pt"
    fetch(server.url, path, SHA)
    fetch(server.url, path, SHA)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["weights.pt"]


def test_a_connection_that_is_cut_is_resumed(server, tmp_path):
    server.moods = ["cut"]
    path = tmp_path / "weights.pt"
    fetch(server.url, path, SHA)
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1500000-"]


def test_an_earlier_part_is_carried_on_with(server, tmp_path):
    (tmp_path / "weights.pt.part").write_bytes(CONTENT[:1000])
    fetch(server.url, tmp_path / "weights.pt", SHA)
    assert server.requests == ["bytes=1000-"]
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(server, tmp_path):
    (tmp_path / "weights.pt.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "weights.pt", SHA)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT


def test_a_server_that_cannot_resume_starts_over(server, tmp_path):
    server.moods = ["no-ranges"]
    (tmp_path / "weights.pt.part").write_bytes(b"stale")
    fetch(server.url, tmp_path / "weights.pt", SHA)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT


def test_a_part_of_another_file_starts_over(server, tmp_path):
    (tmp_path / "weights.pt.part").write_bytes(b"x" * 1000)
    fetch(server.url, tmp_path / "weights.pt", SHA)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-", None]


def test_a_part_longer_than_the_file_starts_over(server, tmp_path):
    (tmp_path / "weights.pt.part").write_bytes(CONTENT + b"more")
    fetch(server.url, tmp_path / "weights.pt", SHA)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT


def test_a_killed_download_is_resumed_by_the_next(server, tmp_path):
    server.moods = ["stuck"]
    path, part = tmp_path / "weights.pt", tmp_path / "weights.pt.part"
    words = ["fetch", server.url, "--sha256", SHA, "--out", str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *words], env=environment)
    deadline = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not path.exists()
    have = part.stat().st_size
    assert 0 < have < len(CONTENT)
    assert main(words) == 0
    assert server.requests == [None, f"bytes={have}-"]
    assert path.read_bytes() == CONTENT


def test_a_full_disk_is_not_tried_again(server, tmp_path):
    (tmp_path / "weights.pt.part").symlink_to("/dev/full")
    with pytest.raises(PipelineError, match=r"No space left on device\); free some space"):
        fetch(server.url, tmp_path / "weights.pt", SHA)
    assert len(server.requests) == 1


@pytest.mark.parametrize("number", sorted(UNWRITABLE))
def test_a_place_that_cannot_be_written_is_not_tried_again(server, tmp_path, monkeypatch, number):
    def refused(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(PipelineError, match=r"weights\.pt' cannot be written \(") as caught:
        fetch(server.url, tmp_path / "weights.pt", SHA)
    assert UNWRITABLE[number] in str(caught.value)
    assert "network" not in str(caught.value)
    assert len(server.requests) == 1


def test_a_folder_that_cannot_be_made_is_a_sentence(server, tmp_path, monkeypatch):
    def refused(*_arguments, **_options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(PipelineError, match="Read-only file system"):
        fetch(server.url, tmp_path / "deep" / "weights.pt", SHA)
    assert server.requests == []


def test_what_was_fetched_needs_no_network(server, tmp_path):
    fetch(server.url, tmp_path / "weights.pt", SHA)
    server.shutdown()
    server.server_close()
    fetch(server.url, tmp_path / "weights.pt", SHA)
    with pytest.raises(PipelineError, match="check the address and the network"):
        fetch(server.url, tmp_path / "other.pt", SHA)


def test_another_checksum_names_both_and_leaves_nothing(server, tmp_path):
    with pytest.raises(PipelineError, match=f"{SHA}.*{'0' * 64}"):
        fetch(server.url, tmp_path / "weights.pt", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_whole(server, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"older")
    server.moods = [404]
    with pytest.raises(PipelineError, match="404"):
        fetch(server.url, path, SHA)
    assert path.read_bytes() == b"older"
    fetch(server.url, path, SHA)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(("moods", "requests"), [([503, 503], 3), ([404], 1), ([500] * 9, 4)])
def test_passing_troubles_are_tried_again_and_lasting_ones_are_not(
    server, tmp_path, moods, requests
):
    server.moods = list(moods)
    if requests == 3:
        fetch(server.url, tmp_path / "weights.pt", SHA)
    else:
        with pytest.raises(PipelineError, match="could not be downloaded"):
            fetch(server.url, tmp_path / "weights.pt", SHA)
    assert len(server.requests) == requests


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/weights.pt"])
def test_redirects_leave_the_web_nowhere(server, tmp_path, target):
    server.moods = [f"redirect:{target}"]
    with pytest.raises(PipelineError, match=r"(?i)redirect"):
        fetch(server.url, tmp_path / "weights.pt", SHA)


def test_redirects_within_the_web_are_followed(server, tmp_path):
    server.moods = [f"redirect:{server.url}"]
    fetch(server.url, tmp_path / "weights.pt", SHA)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["ftp://host/weights.pt", "data:,x", "weights.pt", "-x"])
def test_other_schemes_are_refused(url, tmp_path):
    with pytest.raises(PipelineError, match="must be one of https, http, file"):
        fetch(url, tmp_path / "weights.pt", SHA)


def test_local_files_from_the_command_line(tmp_path, capsys):
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    words = ["fetch", "--out", str(tmp_path / "copy"), "--sha256", SHA]
    assert main([*words, source.as_uri()]) == 0
    assert (tmp_path / "copy").read_bytes() == CONTENT
    (tmp_path / "copy").unlink()
    assert main([*words[:4], SHA.upper(), source.as_uri()]) == 0
    assert (tmp_path / "copy").read_bytes() == CONTENT
    (tmp_path / "copy").unlink()
    assert main([*words, (tmp_path / "absent").as_uri()]) == 2
    assert "absent" in capsys.readouterr().err


@pytest.mark.parametrize("checksum", ["", "abc", SHA[:-1] + "g", SHA + "0"])
def test_what_is_no_checksum_is_refused_before_anything_is_asked(tmp_path, capsys, checksum):
    words = ["fetch", "http://127.0.0.1:9/x", "--out", str(tmp_path / "x")]
    with pytest.raises(SystemExit):
        main([*words, "--sha256", checksum])
    assert "is not the 64 hex digits" in capsys.readouterr().err


def test_a_missing_network_is_not_awaited(tmp_path, monkeypatch):
    def no_network(*_arguments):
        raise urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution"))

    def waited(seconds):
        raise AssertionError(f"waited {seconds} s")

    monkeypatch.setattr("pipeline.data.fetch.append_rest", no_network)
    monkeypatch.setattr("time.sleep", waited)
    with pytest.raises(PipelineError, match=r"check the address and the\s+network"):
        fetch("https://host/table.csv", tmp_path / "table.csv", "0" * 64)


def test_the_hubs_library_does_not_retry_on_its_own(monkeypatch):
    def waited(seconds):
        raise AssertionError(f"waited {seconds} s")

    before = dict(http_backoff.__kwdefaults__)
    monkeypatch.setattr("time.sleep", waited)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with _library_tries_once(), pytest.raises(Exception, match="refused"):
        http_backoff("GET", "http://127.0.0.1:9/")
    assert http_backoff.__kwdefaults__ == before
