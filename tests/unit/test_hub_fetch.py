"""Files of the Hub: fetched once, pinned, resumed, and refused in one sentence."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_server import Fault, HubServer, Repository

# The command line with short waits, which are patched before it runs.
SCRIPT = """
import sys
from pipeline.cli import main
from pipeline.data import fetch
fetch.BACKOFF_SECONDS = (0.01, 0.02, 0.03)
sys.exit(main(sys.argv[1:]))
"""
KEY = "models/me/encoder"
SMALL = b'{"a": 1}'
LARGE = bytes(range(256)) * 400
SHA256 = hashlib.sha256(LARGE).hexdigest()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    files = {"vocab.json": SMALL, "weights.bin": LARGE}
    with HubServer({KEY: Repository(files, ("main", "v1"), large=("weights.bin",))}) as server:
        yield server


class Client:
    """A folder into which ``avvp fetch`` downloads."""

    def __init__(self, hub: HubServer, folder: Path) -> None:
        self.hub, self.folder = hub, folder

    def fetch(
        self, file: str = "weights.bin", *words: str, revision: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        source = f"hf:me/encoder/{file}{revision}"
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, "fetch", source, "--out", f"hub/{file}", *words],
            cwd=self.folder,
            env=self.hub.environment(self.folder / "cache", **variables),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def refused(self, *words: str, **variables: str) -> str:
        """Return the sentence that a fetch ends with."""
        done = self.fetch(*words, **variables)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert line.endswith(".")
        return line.removeprefix("error: ")

    def record(self, file: str = "weights.bin") -> dict[str, object]:
        return dict(json.loads((self.folder / f"hub/{file}.hub.json").read_text()))

    @property
    def path(self) -> Path:
        return self.folder / "hub/weights.bin"

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "hub").glob("*"))


@pytest.fixture
def client(hub: HubServer, tmp_path: Path) -> Client:
    return Client(hub, tmp_path)


def change(hub: HubServer, content: bytes = b"changed" * 100) -> str:
    """Change the file on the Hub; return its checksum."""
    large = hub.repositories[KEY].large
    hub.repositories[KEY] = Repository({"vocab.json": SMALL, "weights.bin": content}, large=large)
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(("file", "content"), [("weights.bin", LARGE), ("vocab.json", SMALL)])
def test_a_file_is_fetched_once_and_recorded(hub, client, file, content):
    done = client.fetch(file)
    assert done.returncode == 0, done.stderr
    assert (client.folder / "hub" / file).read_bytes() == content
    commit, sha256 = hub.repositories[KEY].commit, hashlib.sha256(content).hexdigest()
    assert done.stdout == f"hub/{file}: SHA-256 {sha256}, commit {commit}\n"
    assert client.record(file) == {
        "repository": "me/encoder",
        "file": file,
        "revision": "main",
        "commit": commit,
        "sha256": sha256,
        "size": len(content),
        "kind": "model",
        "verified": True,
    }
    assert client.files == sorted([file, f"{file}.hub.json"])
    asked = len(hub.requests)
    for variables in ({}, {"HF_HUB_OFFLINE": "1"}):
        assert client.fetch(file, **variables).stdout == done.stdout
    assert len(hub.requests) == asked


def test_the_token_stays_with_the_hub(hub, client):
    hub.token = "hf_secret"
    assert client.fetch(HF_TOKEN="hf_secret").returncode == 0
    by_host = {"hub": {"Bearer hf_secret"}, "storage": {None}}
    for host, tokens in by_host.items():
        assert {each.authorization for each in hub.seen if each.host == host} == tokens


def test_a_broken_download_resumes_where_it_stopped(hub, client):
    hub.faults["weights.bin"] = Fault(cut_after=40_000)
    done = client.fetch()
    assert done.returncode == 0
    assert client.path.read_bytes() == LARGE
    assert "retrying in" in done.stderr
    assert [each.range for each in hub.seen if each.host == "storage"] == [None, "bytes=40000-"]


def test_a_download_that_was_given_up_resumes_in_the_next_run(hub, client):
    hub.faults["weights.bin"] = Fault(cut_after=10_000, times=4)
    assert client.refused() == (
        "'weights.bin' of me/encoder cannot be downloaded (the connection broke: IncompleteRead(0"
        " bytes read, 62400 more expected)); run again: partial downloads resume."
    )
    assert not client.path.exists()
    hub.seen.clear()
    assert client.fetch().returncode == 0
    assert client.path.read_bytes() == LARGE
    assert [each.range for each in hub.seen if each.host == "storage"] == ["bytes=40000-"]
    assert client.files == ["weights.bin", "weights.bin.hub.json"]


def test_a_partial_download_of_other_content_is_not_resumed(hub, client):
    hub.faults["weights.bin"] = Fault(cut_after=100, times=4)
    client.refused()
    change(hub)
    hub.seen.clear()
    assert client.fetch().returncode == 0
    assert [each.range for each in hub.seen if each.host == "storage"] == [None]
    assert client.files == ["weights.bin", "weights.bin.hub.json"]


def test_a_damaged_partial_download_starts_over(hub, client):
    hub.faults["weights.bin"] = Fault(cut_after=100, times=4)
    client.refused()
    (part,) = client.path.parent.glob("*.part")
    part.write_bytes(b"x" * 100)
    done = client.fetch()
    assert done.returncode == 0
    assert "starting over" in done.stderr
    assert client.path.read_bytes() == LARGE


@pytest.mark.parametrize(
    ("file", "sent", "problem"),
    [
        ("weights.bin", LARGE[:-1], "has 102,399 bytes, but the Hub states 102,400"),
        ("weights.bin", LARGE + b"x", "has 102,401 bytes, but the Hub states 102,400"),
        (
            "weights.bin",
            b"x" * len(LARGE),
            r"has SHA-256 \w+, but the Hub states " + SHA256,
        ),
        ("vocab.json", b"x" * len(SMALL), r"has git hash \w+, but the Hub states \w+"),
    ],
)
def test_what_the_hub_does_not_state_is_refused(hub, client, file, sent, problem):
    hub.faults[file] = Fault(content=sent, times=-1)
    said = client.refused(file)
    assert re.fullmatch(
        f"the download of '{file}' of me/encoder {problem}; run again to repeat it.", said
    )
    assert client.files == [], "nothing of it is kept"
    hub.faults.clear()
    assert client.fetch(file).returncode == 0


@pytest.mark.parametrize("is_large", [True, False])
def test_a_changed_file_is_an_error_until_it_is_accepted(hub, client, is_large):
    if not is_large:
        hub.repositories[KEY].large = ()
    assert client.fetch().returncode == 0
    old, sha256 = client.record(), change(hub)
    client.path.unlink()
    assert client.refused() == (
        f"'weights.bin' of me/encoder changed on the Hub: it has SHA-256 {sha256}, but {SHA256} was"
        " recorded; `avvp fetch hf:me/encoder/weights.bin --out hub/weights.bin --update` accepts"
        " it."
    )
    assert client.files == ["weights.bin.hub.json"]
    assert client.record() == old
    assert client.fetch("weights.bin", "--update").returncode == 0
    assert client.record()["sha256"] == sha256
    assert client.record()["commit"] == hub.repositories[KEY].commit


def test_what_is_there_stays_until_its_update_is_whole(hub, client):
    assert client.fetch().returncode == 0
    change(hub)
    hub.faults["weights.bin"] = Fault(content=b"wrong", times=-1)
    client.refused("weights.bin", "--update")
    assert client.path.read_bytes() == LARGE
    assert client.record()["sha256"] == SHA256


def test_an_update_of_an_unchanged_file_downloads_nothing(hub, client):
    assert client.fetch().returncode == 0
    hub.seen.clear()
    assert client.fetch("weights.bin", "--update").returncode == 0
    assert {each.method for each in hub.seen} == {"HEAD"}


def test_another_revision_is_another_file(hub, client):
    assert client.fetch().returncode == 0
    assert client.fetch(revision="@v1").returncode == 0
    assert client.record()["revision"] == "v1"


def test_a_file_that_was_cut_short_is_fetched_again(hub, client):
    assert client.fetch().returncode == 0
    client.path.write_bytes(LARGE[:100])
    assert client.fetch().returncode == 0
    assert client.path.read_bytes() == LARGE


@pytest.mark.parametrize(
    ("fault", "why", "remedy"),
    [
        (
            Fault(403, method="HEAD"),
            "{} denies access, error 403",
            "check that HF_TOKEN may read it",
        ),
        (
            Fault(429, {"Retry-After": "3600"}, method="HEAD"),
            "{} has had too many requests, error 429",
            "run again in 3600 s: partial downloads resume",
        ),
        (
            Fault(503, method="HEAD", times=-1),
            "{} answers with error 503",
            "run again later: partial downloads resume",
        ),
        (
            Fault(503, times=-1),
            "{} answers with error 503",
            "run again later: partial downloads resume",
        ),
        (
            Fault(404, {"X-Error-Code": "EntryNotFound"}, method="HEAD"),
            "the repository has no such file",
            "check the name",
        ),
    ],
)
def test_a_refusal_is_one_sentence(hub, client, fault, why, remedy):
    hub.faults["weights.bin"] = fault
    said = client.refused()
    assert said == (
        f"'weights.bin' of me/encoder cannot be downloaded ({why.format(hub.url)}); {remedy}."
    )
    assert client.files == []


def test_a_missing_file_revision_or_permission_is_one_sentence(hub, client):
    start = "cannot be downloaded ("
    assert client.refused("none.bin") == (
        f"'none.bin' of me/encoder {start}the repository has no such file); check the name."
    )
    assert client.refused(revision="@v9") == (
        f"'weights.bin' of me/encoder {start}there is no such revision); check the name after @."
    )
    hub.token = "hf_secret"
    assert client.refused() == (
        f"'weights.bin' of me/encoder {start}{hub.url} has no such repository, or it is private);"
        " check the name, or set HF_TOKEN."
    )
    assert client.refused(HF_TOKEN="hf_wrong") == (
        f"'weights.bin' of me/encoder {start}{hub.url} does not accept the token, error 401); check"
        " HF_TOKEN, or unset it for public files."
    )
    hub.token = None
    hub.repositories[KEY].gated = True
    assert client.refused() == (
        f"'weights.bin' of me/encoder {start}access must be requested); request it on the Hub and"
        " set HF_TOKEN."
    )


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_busy_server_is_asked_again(hub, client, method):
    hub.faults["weights.bin"] = Fault(503, method=method, times=2)
    done = client.fetch()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("retrying in 0 s") == 2
    hub.faults["vocab.json"] = Fault(429, {"Retry-After": "1"}, method=method)
    done = client.fetch("vocab.json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("retrying in 1 s") == 1


def test_offline_the_sentence_says_what_to_put_where(hub, client):
    url = f"{hub.url}/me/encoder/resolve/main/weights.bin"
    assert client.refused(HF_HUB_OFFLINE="1") == (
        f"'hub/weights.bin' is missing, but HF_HUB_OFFLINE is set; download {url} on another"
        " machine and put it there, or unset HF_HUB_OFFLINE."
    )
    assert hub.requests == []
    hub.stop()
    said = client.refused()
    assert said.startswith(
        f"'weights.bin' of me/encoder cannot be downloaded ({hub.url} cannot be reached: "
    )
    assert said.endswith(
        "; check the network and run again, or download"
        f" {url} elsewhere and put it at 'hub/weights.bin'."
    )


def test_a_file_put_there_by_hand_is_accepted_unverified_offline(hub, client):
    client.path.parent.mkdir()
    client.path.write_bytes(LARGE)
    done = client.fetch(HF_HUB_OFFLINE="1")
    assert done.returncode == 0
    assert f"accepted unverified, with SHA-256 {SHA256}" in done.stderr
    assert client.record()["verified"] is False
    assert client.record()["sha256"] == SHA256
    assert "accepted" not in client.fetch(HF_HUB_OFFLINE="1").stderr
    assert client.fetch("weights.bin", "--update").returncode == 0
    assert client.record()["verified"] is True
    assert {each.host for each in hub.seen} == {"hub"}, "what is right is not downloaded again"


def test_a_file_put_there_by_hand_must_be_what_the_hub_states(hub, client):
    client.path.parent.mkdir()
    mine = b"m" * len(LARGE)
    client.path.write_bytes(mine)
    assert client.refused() == (
        f"'hub/weights.bin' has SHA-256 {hashlib.sha256(mine).hexdigest()}, but the Hub states"
        f" {SHA256} for hf:me/encoder/weights.bin; delete it, or add --update to replace it."
    )
    assert client.path.read_bytes() == mine
    assert client.fetch("weights.bin", "--update").returncode == 0
    assert client.path.read_bytes() == LARGE


def test_a_proxy_is_used(hub, client):
    done = client.fetch(HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="")
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert hub.requests == []


def test_two_processes_download_a_file_once(hub, client):
    with ThreadPoolExecutor() as pool:
        done = [each.result() for each in [pool.submit(client.fetch) for _ in range(2)]]
    assert [each.returncode for each in done] == [0, 0]
    assert len([each for each in hub.seen if each.host == "storage"]) == 1


def test_what_cannot_be_written_is_one_sentence(client):
    (client.folder / "hub").write_text("a file")
    said = client.refused()
    assert said.startswith("'hub/weights.bin' cannot be written (")
