"""Getting videos, from a local site behind yt-dlp's generic extractor, with what can go wrong."""

from pathlib import Path

import av
import numpy as np
import pytest
from clips import tone, write_clip
from video_site import STATUSES, VideoSite, frames_in

from pipeline.core.errors import PipelineError, Status
from pipeline.core.validation import validated
from pipeline.data.download import pace as pace_module
from pipeline.data.download.history import HISTORY_FILE, DownloadHistory, HistoryRow
from pipeline.data.download.options import DownloadOptions
from pipeline.data.download.pace import OUTAGE, Pace
from pipeline.data.download.responses import PERMANENT, Response, response_from
from pipeline.data.download.site import Site, check_clip, tools

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "abcdefghijk_1_3"
ID = "abcdefghijk"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses and waits of the run, none of which is slept."""
    waits: list[float] = []
    monkeypatch.setattr(pace_module.time, "sleep", waits.append)
    return waits


def tones_in(path: Path) -> list[float]:
    """Return the strongest frequency of every half second."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        blocks = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
    samples = np.concatenate(blocks)
    halves = [samples[at : at + rate // 2] for at in range(0, len(samples) - rate // 4, rate // 2)]
    return [float(np.abs(np.fft.rfft(half)).argmax() * rate / len(half)) for half in halves]


def download(server: VideoSite, folder: Path, name: str = NAME, **options: object) -> Response:
    (folder / "work").mkdir(parents=True, exist_ok=True)
    site = Site(DownloadOptions(**{"url": server.url, "timeout_seconds": 0.5, **options}))
    with tools():
        return site.download(name, folder, folder / "work")


# One video, by both ways of cutting its window

both_cuts = pytest.mark.parametrize("cut", ["stream", "file"])


@both_cuts
def test_the_window_is_cut_to_the_frame_and_the_sample(
    server: VideoSite, tmp_path: Path, cut: str
) -> None:
    assert download(server, tmp_path, f"{ID}_1.5_3.5", cut=cut) == Response(Status.OK)
    clip = tmp_path / f"{ID}_1.5_3.5.mp4"
    assert frames_in(clip) == list(range(15, 35))
    expected = [tone(1), tone(2), tone(2), tone(3)]
    np.testing.assert_allclose(tones_in(clip)[:4], expected, atol=10)


@both_cuts
@pytest.mark.parametrize(
    ("video", "audio", "options"),
    [
        ("libx264", "aac", {"crf": "18", "preset": "medium", "bf": "3", "g": "90"}),
        ("libvpx-vp9", "libopus", {"cpu-used": "8", "deadline": "realtime", "g": "90"}),
    ],
)
def test_the_cut_is_exact_whatever_the_codec(
    server: VideoSite, tmp_path: Path, video: str, audio: str, options: dict[str, str], cut: str
) -> None:
    path = tmp_path / ("video.webm" if audio == "libopus" else "video.mp4")
    codecs = {"video_codec": video, "audio_codec": audio, "video_options": options}
    write_clip(path, seconds=6, rate=48_000, **codecs)
    server.files[ID] = path.read_bytes()
    assert download(server, tmp_path / "videos", f"{ID}_3.5_5.5", cut=cut) == Response(Status.OK)
    clip = tmp_path / "videos" / f"{ID}_3.5_5.5.mp4"
    assert frames_in(clip) == list(range(105, 165))
    np.testing.assert_allclose(tones_in(clip)[:4], [tone(3), tone(4), tone(4), tone(5)], atol=10)


@both_cuts
def test_picture_and_sound_apart_are_cut_alike(server: VideoSite, tmp_path: Path, cut: str) -> None:
    picture = write_clip(tmp_path / "picture.mp4", seconds=9, fps=10, audio_codec=None)
    sound = write_clip(tmp_path / "sound.m4a", seconds=9, video_codec=None)
    server.moods[ID] = "apart"
    server.files = {"small.mp4": picture.read_bytes(), "sound.m4a": sound.read_bytes()}
    assert download(server, tmp_path / "videos", f"{ID}_3.5_5.5", cut=cut) == Response(Status.OK)
    clip = tmp_path / "videos" / f"{ID}_3.5_5.5.mp4"
    assert frames_in(clip) == list(range(35, 55))
    np.testing.assert_allclose(tones_in(clip)[:4], [tone(3), tone(4), tone(4), tone(5)], atol=10)
    assert server.served == {"small.mp4", "sound.m4a"}, "360 lines are enough"


@pytest.mark.parametrize(
    ("length", "status"),
    [(60, Status.NETWORK_ERROR), (6, Status.TOO_SHORT), (None, Status.TOO_SHORT)],
)
def test_a_stream_that_breaks_off_is_not_a_short_video(
    tmp_path: Path, length: int | None, status: Status
) -> None:
    """Of a window from 2 to 12 s, 4 s arrived; the site says how long the video is, or nothing."""
    clip = write_clip(tmp_path / "clip.mp4", seconds=4, fps=10)
    lengths = [] if length is None else [float(length)]
    assert check_clip(clip, (2.0, 12.0), lengths).status is status


def test_a_server_without_ranges_serves_too(server: VideoSite, tmp_path: Path) -> None:
    server.moods[ID] = "no_ranges"
    assert download(server, tmp_path).status is Status.OK
    assert frames_in(tmp_path / f"{NAME}.mp4") == list(range(10, 30))


@pytest.mark.parametrize("identity", ["-abcdefghij", "--help_or_x", "_bc_1_2-def", "ABCdef12345"])
def test_every_kind_of_id_is_an_address_and_no_option(
    server: VideoSite, tmp_path: Path, identity: str
) -> None:
    assert download(server, tmp_path, f"{identity}_0_2") == Response(Status.OK)
    assert (tmp_path / f"{identity}_0_2.mp4").is_file()
    assert server.asked == {identity: 1}


@pytest.mark.parametrize("identity", ["short", "abcdefghijkl", "abc%2e%2e..k", "abcdefghi k"])
def test_what_is_not_an_id_is_never_asked_for(
    server: VideoSite, tmp_path: Path, identity: str
) -> None:
    assert download(server, tmp_path, f"{identity}_0_2").status is Status.BAD_ID
    assert not server.asked


def test_a_name_cannot_leave_its_folder(server: VideoSite, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="cannot be used as a file name"):
        download(server, tmp_path, "../../abcde_0_2")
    assert not server.asked


# Of whole videos, those that yt-dlp meets while it downloads, and two that it meets before.
@pytest.mark.parametrize(
    ("mood", "status", "cut"),
    [(*each, "stream") for each in STATUSES.items()]
    + [(mood, STATUSES[mood], "file") for mood in ("truncated", "reset", "slow", "busy", "html")],
)
def test_status(server: VideoSite, tmp_path: Path, mood: str, status: Status, cut: str) -> None:
    server.moods[ID] = mood
    server.slow_seconds = 2.0
    answer = download(server, tmp_path, cut=cut)
    assert answer.status is status
    assert answer.detail
    assert answer.wait_seconds == (7 if mood == "busy" else 0)
    # One for the page, and one for a whole video.
    expected = 2 if cut == "file" and mood in {"truncated", "reset", "slow"} else 1
    assert server.asked == {ID: expected}, "one request is one request"
    assert not list(tmp_path.glob("*.mp4")), "nothing half-written has a clip's name"


@both_cuts
@pytest.mark.parametrize("mood", ["gallery", "embed", "hls"])
def test_a_page_cannot_name_other_videos_or_files(
    server: VideoSite, tmp_path: Path, mood: str, cut: str
) -> None:
    local = write_clip(tmp_path / "local.ts", seconds=4, fps=10)
    server.moods[ID], server.local_file = mood, str(local)
    refused = {Status.NOT_MEDIA, Status.NETWORK_ERROR, Status.SITE_ERROR}
    assert download(server, tmp_path, cut=cut).status in refused
    assert set(server.asked) == {ID}
    assert not list(tmp_path.glob("*.mp4"))


@both_cuts
def test_a_video_that_ends_in_its_window_is_kept(
    server: VideoSite, tmp_path: Path, cut: str
) -> None:
    assert download(server, tmp_path, f"{ID}_3_13", cut=cut) == Response(
        Status.TOO_SHORT, "the video ends at 1.0 of 10 s"
    )
    assert frames_in(tmp_path / f"{ID}_3_13.mp4") == list(range(30, 40))


@both_cuts
def test_a_video_that_ends_before_its_window_is_not(
    server: VideoSite, tmp_path: Path, cut: str
) -> None:
    answer = download(server, tmp_path, f"{ID}_60_70", cut=cut)
    assert answer.status is Status.TOO_SHORT
    assert not list(tmp_path.glob("*.mp4"))


def test_what_a_killed_run_left_is_never_taken(server: VideoSite, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / f"{NAME}.mp4").write_bytes(b"half")
    (tmp_path / "work" / f"{NAME}.mp4.part").write_bytes(b"half")
    server.moods[ID] = "unavailable"
    assert download(server, tmp_path).status is Status.UNAVAILABLE
    assert not list(tmp_path.glob("*.mp4"))
    server.moods.clear()
    assert download(server, tmp_path).status is Status.OK
    assert frames_in(tmp_path / f"{NAME}.mp4") == list(range(10, 30))


def test_cookies_are_sent_and_their_file_is_left_alone(server: VideoSite, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    fields = ("127.0.0.1", "FALSE", "/", "FALSE", "0", "session", "let-me-in")
    cookies.write_text("# Netscape HTTP Cookie File\n" + "\t".join(fields) + "\n")
    before = cookies.read_bytes()
    cookies.chmod(0o400)
    assert download(server, tmp_path, cookies=str(cookies)).status is Status.OK
    assert server.cookies == ["session=let-me-in"]
    assert cookies.read_bytes() == before


def test_a_whole_video_leaves_nothing_behind(server: VideoSite, tmp_path: Path) -> None:
    assert download(server, tmp_path / "50% of %(id)s", cut="file") == Response(Status.OK)
    left = [path.name for path in (tmp_path / "50% of %(id)s").rglob("*") if path.is_file()]
    assert left == [f"{NAME}.mp4"]
    assert server.ranges == [], "ffmpeg reads no stream"


def test_a_full_disk_ends_the_run(server: VideoSite, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / f"{NAME}.mp4.part").symlink_to("/dev/full")
    with pytest.raises(PipelineError, match=r"cannot be written: No space left.*free some space"):
        download(server, tmp_path)


@pytest.mark.parametrize("url", ["file:///videos/{id}.mp4", "https://host/watch", "{id}"])
def test_an_address_without_a_place_for_the_id_is_refused(url: str) -> None:
    with pytest.raises(PipelineError, match=r"'url' is .* it must be an http or https address"):
        validated(DownloadOptions, {"url": url})


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("rate_limited", "Sign in to confirm you’re not a bot. Use --cookies-from-browser or"),
        ("rate_limited", "Sign in to confirm you're not a bot"),
        (
            "rate_limited",
            "Video unavailable. This content isn't available, try again later. The current session"
            " has been rate-limited by YouTube for up to an hour.",
        ),
        ("rate_limited", "YouTube is requiring a captcha challenge before playback"),
        ("age_restricted", "Sign in to confirm your age. This video may be inappropriate for some"),
        ("private", "Private video. Sign in if you've been granted access to this video"),
        ("private", "This video is available to this channel's members on level: Friend (or any"),
        (
            "region_blocked",
            "Video unavailable. The uploader has not made this video available in your country",
        ),
        ("removed", "This video has been removed for violating YouTube's policy on hate speech"),
        ("removed", "Video unavailable. This video has been removed by the uploader"),
        (
            "removed",
            "This video is no longer available because the YouTube account associated with this"
            " video has been terminated.",
        ),
        (
            "removed",
            "Video unavailable. This video is no longer available due to a copyright claim",
        ),
        ("unavailable", "Video unavailable"),
        ("unavailable", "This video is not available"),
        ("network_error", "Unable to download webpage: HTTP Error 503: Service Unavailable"),
        ("network_error", "[Errno -3] Temporary failure in name resolution"),
        ("network_error", "unable to download video data: The read operation timed out"),
        ("site_error", "Requested format is not available"),
        ("site_error", "Signature extraction failed: Some formats may be missing"),
    ],
)
def test_what_youtube_says_has_its_status(status: str, message: str) -> None:
    answer = response_from(f"ERROR: [youtube] BjCEufrlXm4: {message}; please report this issue on")
    assert answer.status == status
    assert message.startswith(answer.detail)
    assert answer.detail


# The pace


@pytest.mark.parametrize("name", ["sleep_seconds", "backoff_seconds"])
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_a_pause_that_cannot_be_is_named(name: str, value: float) -> None:
    with pytest.raises(PipelineError, match=f"'{name}' is {value}; it must be"):
        validated(DownloadOptions, {name: value})


def test_passing_troubles_are_waited_out_longer_and_longer(waits: list[float]) -> None:
    answers = [Response(Status.NETWORK_ERROR)] * 3 + [Response(Status.OK)]
    pace = Pace(DownloadOptions(attempts=4, backoff_seconds=10))
    assert pace.ask(lambda: answers.pop(0)) == (Response(Status.OK), 4)
    assert [5 <= wait / 2**place <= 15 for place, wait in enumerate(waits)] == [True] * 3
    before = list(waits)
    waits.clear()
    answers = [Response(Status.NETWORK_ERROR)] * 3 + [Response(Status.OK)]
    Pace(DownloadOptions(attempts=4, backoff_seconds=10)).ask(lambda: answers.pop(0))
    assert waits == before, "the jitter has a seed"
    answers = [Response(Status.NETWORK_ERROR)] * 3 + [Response(Status.OK)]
    waits.clear()
    Pace(DownloadOptions(attempts=4, backoff_seconds=10, seed=1)).ask(lambda: answers.pop(0))
    assert waits != before


@pytest.mark.parametrize("status", sorted(PERMANENT | {Status.FORBIDDEN, Status.SITE_ERROR}))
def test_other_troubles_are_not_asked_about_twice(status: Status, waits: list[float]) -> None:
    assert Pace(DownloadOptions(attempts=4)).ask(lambda: Response(status)) == (Response(status), 1)
    assert waits == []


def test_the_wait_a_site_asks_for_is_kept(waits: list[float]) -> None:
    answers = [Response(Status.RATE_LIMITED, "", 120.0), Response(Status.OK)]
    pace = Pace(DownloadOptions(stop_after=2))
    pace.ask(lambda: answers.pop(0))
    assert waits == [120.0]
    assert not pace.reason_to_stop()


def test_a_wait_beyond_reason_ends_the_run(waits: list[float]) -> None:
    pace = Pace(DownloadOptions(attempts=3, stop_after=2))
    answer = Response(Status.NETWORK_ERROR, "HTTP Error 503", 86_400.0)
    assert pace.ask(lambda: answer) == (answer, 1), "it is not asked again"
    assert waits == []
    assert pace.reason_to_stop() == (
        "the site asks for a wait of 24.0 hours (HTTP Error 503); run the same command again"
        " after that."
    )


@pytest.mark.parametrize("stop_after", [1, 3])
def test_signs_of_blocking_are_counted_over_the_run(stop_after: int, waits: list[float]) -> None:
    pace = Pace(DownloadOptions(attempts=2, stop_after=stop_after))
    requests = 0
    while not pace.reason_to_stop():
        requests += pace.ask(lambda: Response(Status.RATE_LIMITED, "429"))[1]
    assert requests == stop_after
    assert "429" in pace.reason_to_stop()


def test_nothing_but_failures_is_an_outage(waits: list[float]) -> None:
    pace = Pace(DownloadOptions(attempts=1))
    for _ in range(OUTAGE - 1):
        pace.ask(lambda: Response(Status.SITE_ERROR, "no player"))
    pace.ask(lambda: Response(Status.UNAVAILABLE))
    assert not pace.reason_to_stop(), "the site answered: it is there"
    for _ in range(OUTAGE):
        assert not pace.reason_to_stop()
        pace.ask(lambda: Response(Status.SITE_ERROR, "no player"))
    assert "10 videos all failed, the last one with site_error (no player)" in pace.reason_to_stop()


# The status table


def test_which_are_asked_for_again(tmp_path: Path) -> None:
    ledger = DownloadHistory(tmp_path / HISTORY_FILE)
    for status in (Status.PRIVATE, Status.NETWORK_ERROR, Status.OK):
        ledger.add(HistoryRow(f"{status}_0_2", status, "", 1, "2026-01-01T00:00:00Z"))
    again = DownloadHistory(tmp_path / HISTORY_FILE)
    names = ["private_0_2", "network_error_0_2", "ok_0_2", "new_0_2"]
    due = {
        retry: [again.is_due(name, retry) for name in names]
        for retry in ("transient", "all", "none")
    }
    assert due == {
        "transient": [False, True, True, True],
        "all": [True, True, True, True],
        "none": [False, False, True, True],
    }


def test_a_ledger_that_is_not_one_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / HISTORY_FILE).write_text("filename\tstatus\na_0_1\tsplendid\n")
    with pytest.raises(PipelineError, match="is not a valid download history"):
        DownloadHistory(tmp_path / HISTORY_FILE)
