"""A Hugging Face Hub on this machine: the endpoints from which repositories are downloaded.

Set HF_ENDPOINT to ``HubServer.url`` before ``huggingface_hub`` is imported, so best in a process of
its own; ``HubServer.environment`` is what such a process needs.
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

INFO = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[\w.-]+/[\w.-]+)"
    r"(?P<tree>/tree)?(?:/revision)?(?:/(?P<revision>[^/?]+))?(?P<folder>/.*)?"
)
FILE = re.compile(
    r"/(?P<datasets>datasets/)?(?P<name>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)


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
    """

    files: dict[str, bytes]
    names: tuple[str, ...] = ("main",)
    gated: bool = False

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
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

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
        kept = {key: value for key, value in os.environ.items() if "OFFLINE" not in key}
        return {**kept, "HF_ENDPOINT": self.url, "HF_HOME": str(cache), **changes}


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
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
        self.server_hub.requests.append(f"{self.command} {path}")
        if match := INFO.fullmatch(path):
            self._send_info(match)
        elif match := FILE.fullmatch(path):
            self._send_file(match)
        else:
            self._send(404, b"{}")

    def _find(self, key: str, revision: str | None) -> Repository | None:
        """Return a repository, or send why it cannot be had, in the Hub's error codes."""
        repository = self.server_hub.repositories.get(key)
        if repository is None:
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
        headers = {"ETag": f'"{_blob(content)}"', "Accept-Ranges": "bytes", **commit}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked:
            start = int(asked[1])
            end = min(int(asked[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            self._send(206, content[start : end + 1], headers)
        else:
            self._send(200, content, headers)

    def _send(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _blob(content: bytes) -> str:
    """Return git's hash of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
