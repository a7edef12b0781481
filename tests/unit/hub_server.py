"""A Hugging Face Hub on this machine: the endpoints from which repositories are downloaded.

Set HF_ENDPOINT to ``HubServer.url`` before ``huggingface_hub`` is imported, so best in a process of
its own; ``HubServer.environment`` is what such a process needs.

Files in large file storage are served as the Hub does it: HEAD states size and SHA-256 and
redirects to another host for the content. Any file can be made to fail, see ``Fault``.
"""

import hashlib
import json
import os
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

REPOSITORY = Path(__file__).resolve().parents[2]
INFO = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[\w.-]+/[\w.-]+)"
    r"(?P<tree>/tree)?(?:/revision)?(?:/(?P<revision>[^/?]+))?(?P<folder>/.*)?"
)
FILE = re.compile(
    r"/(?P<datasets>datasets/)?(?P<name>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)


@dataclass
class Fault:
    """How requests of a file fail.

    Attributes
    ----------
    code, headers
        Answer with this status.
    cut_after
        Close the connection after so many bytes of the content.
    content
        Send this instead of the content.
    method
        Which requests: of what is stated (``HEAD``) or of the content (``GET``).
    times
        How many of them; negative for all.
    """

    code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    content: bytes | None = None
    method: str = "GET"
    times: int = 1


@dataclass(frozen=True)
class Request:
    """A request that was made: to ``hub`` or to its ``storage``."""

    host: str
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Repository:
    """One commit of a repository.

    Attributes
    ----------
    files
        Path to content.
    names
        Branches and tags of the commit.
    gated
        Whether access must be requested.
    large
        Paths in large file storage.
    """

    files: dict[str, bytes]
    names: tuple[str, ...] = ("main",)
    gated: bool = False
    large: tuple[str, ...] = ()

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for path, content in sorted(self.files.items()):
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


@dataclass
class HubServer:
    """A server of model and dataset repositories, keyed ``models/owner/name``.

    Attributes
    ----------
    repositories
        What is served; may change at any time.
    requests
        ``METHOD /path`` of every request.
    seen
        The same with more detail, of both hosts.
    faults
        How files fail, by their path in the repository.
    token
        What a client must send; None if everything is public.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    token: str | None = None

    def __post_init__(self) -> None:
        hub = self

        class Handler(_Handler):
            server_hub = hub

        class Storage(Handler):
            host = "storage"

        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), each) for each in (Handler, Storage)]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def storage_url(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def content(self, sha256: str) -> tuple[str, bytes]:
        """Return the path and content of a file in large file storage."""
        for repository in self.repositories.values():
            for path in repository.large:
                if hashlib.sha256(repository.files[path]).hexdigest() == sha256:
                    return path, repository.files[path]
        raise KeyError(sha256)

    def fault(self, path: str, method: str) -> Fault | None:
        """Return how this request of a file fails, and count it."""
        fault = self.faults.get(path)
        if fault is None or fault.method != method or fault.times == 0:
            return None
        fault.times -= 1
        return fault

    def add_folder(self, key: str, folder: Path, **options: object) -> Repository:
        """Serve the files of a folder as ``models/owner/name`` or ``datasets/owner/name``."""
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.repositories[key] = Repository(files, **options)  # type: ignore[arg-type]
        return self.repositories[key]

    def environment(self, cache: Path, **changes: str) -> dict[str, str]:
        """Return the environment of a process that downloads from here into a cache of its own."""
        mine = re.compile(r"HF_|TRANSFORMERS_OFFLINE|\w*_PROXY", re.IGNORECASE)
        kept = {key: value for key, value in os.environ.items() if not mine.match(key)}
        here = {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "PYTHONPATH": str(REPOSITORY)}
        return {**kept, **here, **changes}


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    host = "hub"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:  # telemetry and what else a client may send
        self._send(404, b"{}")

    def log_message(self, *words: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        hub = self.server_hub
        asked, token = self.headers.get("Range"), self.headers.get("Authorization")
        hub.requests.append(f"{self.command} {path}")
        if not path.startswith("/api/agent-harnesses"):  # who asks, for statistics
            hub.seen.append(Request(self.host, self.command, path, asked, token))
        if self.host == "storage":
            self._send_content(*hub.content(path.rpartition("/")[2]))
        elif hub.token and token and token != f"Bearer {hub.token}":
            reason = "Invalid credentials in Authorization header"
            self._send(401, b"{}", {"X-Error-Message": reason})
        elif match := INFO.fullmatch(path):
            self._send_info(match)
        elif match := FILE.fullmatch(path):
            self._send_file(match)
        else:
            self._send(404, b"{}")

    def _find(self, key: str, revision: str | None) -> Repository | None:
        """Return a repository, or send why it cannot be had, in the Hub's error codes."""
        repository = self.server_hub.repositories.get(key)
        if repository is None or (self.server_hub.token and not self.headers.get("Authorization")):
            # As the Hub answers a client without a token.
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif repository.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif revision not in {None, repository.commit, *repository.names}:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _send_info(self, match: re.Match[str]) -> None:
        name = match["name"]
        repository = self._find(f"{match['kind']}/{name}", match["revision"])
        if repository is None:
            return
        if match["tree"]:
            folder = (match["folder"] or "").strip("/")
            rows = [
                {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
                for path, content in repository.files.items()
                if path.startswith(folder)
            ]
            self._send(200, json.dumps(rows).encode())
            return
        siblings = [
            {"rfilename": path, "size": len(content), "blobId": _blob(content)}
            for path, content in repository.files.items()
        ]
        value = {
            "_id": "0",
            "id": name,
            "modelId": name,
            "sha": repository.commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
        }
        self._send(200, json.dumps(value).encode())

    def _send_file(self, match: re.Match[str]) -> None:
        kind = "datasets" if match["datasets"] else "models"
        repository = self._find(f"{kind}/{match['name']}", match["revision"])
        if repository is None:
            return
        content = repository.files.get(match["path"])
        commit = {"X-Repo-Commit": repository.commit}
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", **commit})
            return
        path = match["path"]
        if self.command == "HEAD" and (fault := self.server_hub.fault(path, "HEAD")):
            self._send(fault.code, b"", fault.headers)
        elif path in repository.large:
            sha256 = hashlib.sha256(content).hexdigest()
            stated = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{sha256}"'}
            place = f"{self.server_hub.storage_url}/blobs/{sha256}?signature=1"
            self._send(302, b"", {"Location": place, **stated, **commit})
        else:
            self._send_content(path, content, {"ETag": f'"{_blob(content)}"', **commit})

    def _send_content(
        self, path: str, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        """Send a file, or the range that is asked for, or what a fault makes of it."""
        headers = {"Accept-Ranges": "bytes", **(headers or {})}
        fault = self.server_hub.fault(path, "GET") if self.command == "GET" else None
        if fault and fault.code:
            self._send(fault.code, b"", fault.headers)
            return
        if fault and fault.content is not None:
            content = fault.content
        cut_after = fault.cut_after if fault else None
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked:
            start = int(asked[1])
            end = min(int(asked[2] or len(content) - 1), len(content) - 1)
            if start >= len(content):
                self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            self._send(206, content[start : end + 1], headers, cut_after)
        else:
            self._send(200, content, headers, cut_after)

    def _send(
        self,
        code: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        cut_after: int | None = None,
    ) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut_after])
            self.close_connection = cut_after is not None


def _blob(content: bytes) -> str:
    """Return git's hash of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
