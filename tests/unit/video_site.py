"""A local site: every path /watch/ID is a video, and its mood says what goes wrong."""

import re
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
from clips import number_in

from pipeline.cli import main
from pipeline.core.errors import Status
from pipeline.data.download.history import HISTORY_FILE, DownloadHistory

# Moods that are an HTTP answer: code, reason as the site would word it, headers.
REFUSALS: dict[str, tuple[int, str, dict[str, str]]] = {
    "unavailable": (404, "Not Found", {}),
    "gone": (410, "Gone", {}),
    "forbidden": (403, "Forbidden", {}),
    "busy": (429, "Too Many Requests", {"Retry-After": "7"}),
    "bot": (403, "Sign in to confirm you’re not a bot", {}),
    "private": (403, "Private video. Sign in if you have been granted access", {}),
    "age": (403, "Sign in to confirm your age", {}),
    "region": (451, "Unavailable For Legal Reasons", {}),
    "broken": (503, "Service Unavailable", {}),
}
# What each mood of the site must be called.
STATUSES = {
    "unavailable": Status.UNAVAILABLE,
    "gone": Status.REMOVED,
    "private": Status.PRIVATE,
    "age": Status.AGE_RESTRICTED,
    "region": Status.REGION_BLOCKED,
    "forbidden": Status.FORBIDDEN,
    "busy": Status.RATE_LIMITED,
    "broken": Status.NETWORK_ERROR,
    "truncated": Status.NETWORK_ERROR,
    "reset": Status.NETWORK_ERROR,
    "slow": Status.NETWORK_ERROR,
    "html": Status.NOT_MEDIA,
}
PAGES = {
    "html": b"<html><body>Nothing to see here.</body></html>",
    "gallery": b"<html><body><video src='/watch/aaaaaaaaaaa'></video>"
    b"<video src='/watch/bbbbbbbbbbb'></video></body></html>",
    "embed": b"<html><iframe src='https://www.youtube.com/embed/BjCEufrlXm4'></iframe></html>",
}
# An HLS playlist whose only part is a file of the machine that reads it.
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{}\n#EXT-X-ENDLIST\n"
# Picture and sound in two files, the larger picture first, as YouTube serves them.
APART = """<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>
<AdaptationSet mimeType="video/mp4">
<Representation id="large" bandwidth="9000" width="1920" height="1080" codecs="avc1.42c00b">
<BaseURL>{home}/watch/large.mp4</BaseURL><SegmentBase indexRange="0-100"/></Representation>
<Representation id="small" bandwidth="100" width="640" height="360" codecs="avc1.42c00b">
<BaseURL>{home}/watch/small.mp4</BaseURL><SegmentBase indexRange="0-100"/></Representation>
</AdaptationSet><AdaptationSet mimeType="audio/mp4">
<Representation id="sound" bandwidth="100" codecs="mp4a.40.2" audioSamplingRate="44100">
<BaseURL>{home}/watch/sound.m4a</BaseURL><SegmentBase indexRange="0-100"/></Representation>
</AdaptationSet></Period></MPD>
"""


class VideoSite(ThreadingHTTPServer):
    """Serves one video under every id, or what ``moods`` says of it; ``files`` by their paths."""

    daemon_threads = True

    def __init__(self, video: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.video = video
        self.moods: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()  # without a range; ffmpeg's requests all have one
        self.ranges: list[str] = []
        self.served: set[str] = set()
        self.cookies: list[str | None] = []
        self.slow_seconds = 8.0
        self.local_file = "/etc/hostname"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.home}/watch/{{id}}"

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up are part of the game

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: VideoSite

    def do_GET(self) -> None:
        identity = self.path.removeprefix("/watch/")
        mood = self.server.moods.get(identity, "well")
        asked_range = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked_range is None:
            self.server.asked[identity] += 1
            self.server.cookies.append(self.headers.get("Cookie"))
        else:
            self.server.ranges.append(self.headers["Range"])
        if mood in REFUSALS:
            code, reason, headers = REFUSALS[mood]
            self.send(code, b"", headers, reason)
        elif mood in PAGES:
            self.send(200, PAGES[mood], {"Content-Type": "text/html"})
        elif mood == "apart":
            listing = APART.format(home=self.server.home).encode()
            self.send(200, listing, {"Content-Type": "application/dash+xml"})
        elif mood == "hls":
            playlist = PLAYLIST.format(self.server.local_file).encode()
            self.send(200, playlist, {"Content-Type": "application/vnd.apple.mpegurl"})
        else:
            self.server.served.add(identity)
            content = self.server.files.get(identity, self.server.video)
            self.send_content(content, mood, asked_range)

    def send(self, code: int, body: bytes, headers: dict[str, str], reason: str = "") -> None:
        # Status lines are Latin-1; YouTube's curly apostrophe reaches people as UTF-8 all the same.
        self.send_response(code, reason.encode().decode("latin-1") or None)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def send_content(self, content: bytes, mood: str, asked_range: re.Match[str] | None) -> None:
        start = 0
        if asked_range and mood != "no_ranges":
            start = int(asked_range[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if mood != "no_ranges":
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content)
        if mood in {"truncated", "reset", "slow"}:
            end = max(start, len(content) * 2 // 3)
        self.wfile.write(content[start:end])
        if end < len(content):
            self.hang_up(mood)

    def hang_up(self, mood: str) -> None:
        self.close_connection = True
        if mood == "slow":
            time.sleep(self.server.slow_seconds)
        if mood == "reset":
            linger = struct.pack("ii", 1, 0)  # a reset instead of a polite end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


class Folder:
    """Annotation tables, a folder of videos and a folder of results."""

    def __init__(self, path: Path, names: list[str], site: VideoSite) -> None:
        self.annotations, self.videos, self.out = path / "tables", path / "videos", path / "out"
        self.site = site
        self.annotations.mkdir(parents=True)
        splits = {"train": names[:-2], "val_pd": names[-2:-1], "test_pd": names[-1:]}
        for split, of_split in splits.items():
            lines = ["filename\tevent_labels", *(f"{name}\tSpeech" for name in of_split)]
            (self.annotations / f"AVVP_{split}.csv").write_text("\n".join(lines) + "\n")

    def words(self, *more: str) -> list[str]:
        folders = {"--annotations": self.annotations, "--videos": self.videos, "--out": self.out}
        words = [str(word) for pair in folders.items() for word in pair]
        pace = ["--sleep-seconds", "0", "--backoff-seconds", "0", "--timeout-seconds", "3"]
        return ["videos", *words, *pace, "--url", self.site.url, *more]

    def run(self, *more: str) -> int:
        self.site.asked.clear()
        return main(self.words(*more))

    @property
    def statuses(self) -> dict[str, Status]:
        records = DownloadHistory(self.videos / HISTORY_FILE).records
        return {name: record.status for name, record in records.items()}

    def table(self, name: str) -> list[list[str]]:
        lines = (self.out / name).read_text().splitlines()[1:]
        return [line.split("\t") for line in lines]


def names_of(count: int) -> list[str]:
    return [f"{index:_>11}_1_3" for index in range(count)]


def frames_in(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [number_in(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
