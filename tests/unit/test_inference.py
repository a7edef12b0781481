"""What is made of parsed windows: seconds, events, tables, documents, pages."""

import csv
import io
import itertools
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import parsed_videos
import pytest
from simulated import make_vocabulary

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.data.annotations import EVENT_COLUMNS, read_events
from pipeline.inference.elan import elan_document
from pipeline.inference.events import (
    DecisionThresholds,
    Event,
    Parsed,
    ceil_decimals,
    floor_decimals,
    mean_confidence,
    two_decimals,
)
from pipeline.inference.input_files import find_files, folder_digest, printable, safe_names
from pipeline.inference.page import page_data, write_index, write_page
from pipeline.inference.playback import Playback, make_playable, playable_type, remove_others
from pipeline.inference.predictors import classes_from_phrases, split_phrases
from pipeline.inference.tables import audacity_labels, json_text, web_captions, write_parsed_files
from pipeline.inference.videos import MediaFacts, StreamFacts
from pipeline.inference.windows import merge, window_starts
from pipeline.media.folder import NO_MEDIA, SUBFOLDER

VOCABULARY = make_vocabulary(3)


def make_parsed(probabilities, gates=None, thresholds=None, **changes) -> Parsed:
    classes = VOCABULARY.names[: np.shape(probabilities)[2]]
    chosen = {"thresholds": thresholds} if thresholds else {}
    return replace(parsed_videos.make_parsed(probabilities, classes, gates, **chosen), **changes)


def one_class(audio, visual) -> np.ndarray:
    return np.array([audio, visual], float)[:, :, None]


# ---- windows


@pytest.mark.parametrize(
    ("length", "overlap", "starts"),
    [
        (1, 5, (0,)),
        (10, 5, (0,)),
        (11, 5, (0, 1)),
        (15, 5, (0, 5)),
        (23, 5, (0, 5, 10, 13)),
        (23, 0, (0, 10, 13)),
        (30, 0, (0, 10, 20)),
        (12, 9, (0, 1, 2)),
    ],
)
def test_windows_cover_a_video_and_end_with_it(length, overlap, starts):
    assert window_starts(length, 10, overlap) == starts


@pytest.mark.parametrize("length", range(1, 40))
@pytest.mark.parametrize("overlap", [0, 3, 9])
def test_no_second_is_left_out(length, overlap):
    starts = window_starts(length, 10, overlap)
    covered = {second for start in starts for second in range(start, start + 10)}
    assert set(range(length)) <= covered
    assert max(covered) < max(length, 10)


@pytest.mark.parametrize("overlap", [-1, 10])
def test_an_overlap_that_is_no_overlap_is_refused(overlap):
    with pytest.raises(PipelineError, match=f"overlap is {overlap} s; .* 0 to 9"):
        window_starts(20, 10, overlap)


def test_shared_seconds_are_averaged_and_padding_is_left_out():
    windows = np.stack([np.full((4, 1), 0.2), np.full((4, 1), 0.6)])
    whole = np.ones((2, 4), bool)
    merged = merge(windows, (0, 2), 6, whole)
    assert merged[:, 0].tolist() == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.6, 0.6])
    assert merge(windows[:1], (0,), 3, whole[:1]).shape == (3, 1)
    assert merge(windows[1:], (2,), 6, whole[1:])[:2].tolist() == [[0], [0]]


def test_a_second_is_the_mean_over_the_windows_that_have_it():
    windows = np.stack([np.full((4, 1), 0.2), np.full((4, 1), 0.6)])
    present = np.array([[True, True, True, False], [True, True, False, False]])
    merged = merge(windows, (0, 2), 6, present)
    assert merged[:, 0].tolist() == pytest.approx([0.2, 0.2, 0.4, 0.6, 0, 0])


# ---- which seconds a file has


@pytest.mark.parametrize(
    ("seconds", "span", "expected"),
    [
        (4.0, (0, 4.0), [1, 1, 1, 1]),
        (4.0, (0, 2.0 + 1e-9), [1, 1, 0, 0]),
        (4.0, (0, 2.5), [1, 1, 1, 0]),
        (4.0, (1.6, 4.0), [0, 0, 1, 1]),
        (4.0, (1.5, 4.0), [0, 1, 1, 1]),
        (2.5, (-0.02, 2.5), [1, 1, 1]),
        (0.3, (0, 0.3), [1]),
        (0.3, (0, 0.1), [0]),
        (2.0, (0, float("inf")), [1, 1]),
    ],
)
def test_a_second_is_there_when_a_stream_has_half_of_it(seconds, span, expected):
    facts = MediaFacts(seconds, MP4, None, StreamFacts(1, "aac", "", *span))
    assert facts.present.tolist() == [[bool(one) for one in expected], [False] * len(expected)]


# ---- events


def test_events_have_one_modality_at_a_time():
    probabilities = one_class([0, 0.9, 0.9, 0.9, 0], [0, 0, 0.7, 0.7, 0.5])
    assert make_parsed(probabilities).events == [
        Event("Class_0", "audible", 1, 2, pytest.approx(0.9)),
        Event("Class_0", "both", 2, 4, pytest.approx(0.7)),
        Event("Class_0", "visible", 4, 5, pytest.approx(0.5)),
    ]


@pytest.mark.parametrize("segment", [0.4, 0.4567, 0.45672])
@pytest.mark.parametrize("video", [0.7, 0.7001, 0.70013])
def test_the_gate_decides_with_the_probability_as_predict_does(segment, video):
    """Finer thresholds than of four decimals count as the next of four."""
    from pipeline.parsers.decision import Probabilities, decide
    from pipeline.parsers.registry import recipe_for

    random = np.random.default_rng(0)
    audio, visual = random.random((2, 1, 10, 3), np.float32)
    gate = random.random((1, 2, 3), np.float32) * 2
    # Values just below and above the thresholds, too.
    near = np.float32([-2e-5, 1e-5, 2e-5])
    limits = ceil_decimals(segment), ceil_decimals(video)
    audio[0, 0], gate[0, 0] = limits[0] + near, limits[1] + near[::-1]
    recipe, coarse = (
        recipe_for("link", {"segment_threshold": of_segment, "video_threshold": of_video})
        for of_segment, of_video in [(segment, video), limits]
    )
    expected = np.stack(decide(Probabilities(audio, visual, gate), coarse))[:, 0]
    parsed = make_parsed(
        floor_decimals(np.stack([audio[0], visual[0]]).astype(float)),
        floor_decimals(np.repeat(gate[0][:, None], 10, axis=1).astype(float)),
        DecisionThresholds.of(recipe, None),
    )
    assert expected.any()
    assert not expected.all()
    assert (parsed.labels == expected).all()


def test_another_threshold_moves_the_gates_too():
    parsed = make_parsed(one_class([0.45], [0.9]), one_class([0.42], [0.42]))
    assert not parsed.labels.any()
    lower = replace(parsed, thresholds=DecisionThresholds(0.5, 0.5, 0.4))
    assert lower.labels[:, 0, 0].tolist() == [1, 1]
    assert [event.modality for event in lower.events] == ["both"]


@pytest.mark.parametrize("video", np.arange(0.1, 1, 0.1))
@pytest.mark.parametrize("segment", np.arange(0.1, 1, 0.1))
def test_the_page_and_the_tables_agree_at_every_threshold(segment, video):
    grid = floor_decimals(np.arange(0, 1, 0.005) + 1e-9)[:, None]
    parsed = make_parsed(np.stack([np.ones_like(grid), grid[::-1]]), np.stack([grid, grid]))
    for chosen in [*np.arange(0.05, 0.951, 0.01), 0.123456]:
        at = replace(parsed, thresholds=DecisionThresholds(segment, video, chosen))
        data = page_data(at)
        drawn = np.array(data["scores"])[:, 0] / data["scale"] >= data["threshold"]
        assert (at.labels[:, :, 0] == drawn).all()


def test_raising_keeps_what_has_four_decimals():
    assert [ceil_decimals(number / 10_000) for number in range(10_001)] == [
        number / 10_000 for number in range(10_001)
    ]
    assert ceil_decimals(0.45671) == ceil_decimals(0.4568) == 0.4568


def test_cutting_lifts_nothing_over_a_threshold():
    assert floor_decimals(np.array([0.49999, 0.5, 0.99999])).tolist() == [0.4999, 0.5, 0.9999]


# ---- tables


def parsed_of_three() -> Parsed:
    random = np.random.default_rng(1)
    return make_parsed(floor_decimals(random.random((2, 70, 3))))


def test_tables_say_what_the_labels_say(tmp_path):
    path = tmp_path / "v.mp4"
    path.touch()
    parsed = replace(parsed_of_three(), path=path)
    write_parsed_files(tmp_path / "out", parsed, 0)
    for index, modality in enumerate(("audio", "visual")):
        events = read_events(tmp_path / "out" / f"predicted_{modality}.csv", VOCABULARY)
        labels = np.zeros((70, 3), np.uint8)
        for event in events:
            labels[int(event.onset) : int(event.offset), event.class_index] = 1
        assert (labels == parsed.labels[index]).all()
    table = pd.read_csv(tmp_path / "out/events.csv")
    assert list(table) == [*EVENT_COLUMNS, "modality", "confidence"]
    assert len(table) == len(parsed.events)
    assert set(table["modality"]) == {"audible", "visible", "both"}


def test_json_has_all_that_the_page_and_the_tables_are_made_of():
    parsed = parsed_of_three()
    value = json.loads(json_text(parsed, 0))
    assert np.array(value["probabilities"]["visual"]) == pytest.approx(
        parsed.probabilities["visual"]
    )
    assert np.array(value["gates"]["audio"]).shape == (70, 3)
    assert value["thresholds"] == {"segment": 0.5, "video": 0.5, "chosen": 0.5}
    assert value["events"][0].keys() == {"class", "modality", "onset", "offset", "confidence"}


def test_subtitles_escape_names_and_count_hours():
    event = Event("<b>&_Dog-->", "both", 3599, 3661, 0.5)
    text = web_captions([event])
    assert text.startswith("WEBVTT\n\n")
    assert "00:59:59.000 --> 01:01:01.000\n" in text
    assert "&lt;b&gt;&amp; Dog--&gt; (heard and seen, 0.50)" in text


def test_audacity_labels_are_three_columns():
    rows = audacity_labels([Event("Dog_bark", "audible", 1, 3, 0.876)])
    assert list(csv.reader(io.StringIO(rows), delimiter="\t")) == [
        ["1.000000", "3.000000", "Dog bark (heard, 0.88)"]
    ]


def test_elan_has_a_tier_a_class_and_track_whose_annotations_do_not_overlap(tmp_path):
    path = tmp_path / "a <b> & #1.mp4"
    path.touch()
    parsed = replace(parsed_of_three(), path=path)
    text = elan_document(parsed, tmp_path / "out" / "v")
    root = ElementTree.fromstring(text.encode())
    assert root.attrib["FORMAT"] == "3.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", root.attrib["DATE"])
    assert [child.tag for child in root][:2] == ["HEADER", "TIME_ORDER"]
    assert root[-1].tag == "LINGUISTIC_TYPE"
    media = root.find("HEADER/MEDIA_DESCRIPTOR").attrib
    assert media["MEDIA_URL"] == path.as_uri()
    assert media["RELATIVE_MEDIA_URL"] == "../../a%20%3Cb%3E%20%26%20%231.mp4"
    times = {
        slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")
    }
    assert list(times.values()) == sorted(set(times.values()))  # ELAN: ascending
    tiers = root.findall("TIER")
    assert len(tiers) == 6
    count = 0
    for tier in tiers:
        spans = [
            (times[one.get("TIME_SLOT_REF1")], times[one.get("TIME_SLOT_REF2")])
            for one in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
        count += len(spans)
    identities = [one.get("ANNOTATION_ID") for one in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(identities)) == len(identities) == count
    values = [one.text for one in root.iter("ANNOTATION_VALUE")]
    assert all(re.fullmatch(r".+ \([01]\.\d\d\)", value) for value in values)
    assert elan_document(parsed, tmp_path / "out" / "v") == text


def test_halves_are_rounded_up_as_the_page_does_it():
    assert [two_decimals(value) for value in (0.125, 0.625, 0.8749, 1.0)] == [
        "0.13",
        "0.63",
        "0.87",
        "1.00",
    ]
    assert mean_confidence(np.array([0.0312, 0.0313])) == 0.0313


# ---- files


def test_names_are_safe_and_told_apart():
    paths = ["a/x.mp4", "b/X.mkv", "../..mp4", ".hidden.mp4", "<s>/<script>&.mp4", "-id_0_10.mp4"]
    names = safe_names(
        [Path(path) for path in [*paths, "c/" + "ü" * 200 + ".mp4", "new\nline\t.mp4"]]
    )
    assert names[:2] == ["x", "X-2"]
    assert names[4:6] == ["_script__", "-id_0_10"]
    assert len(set(names)) == len(names)
    for name in names:
        assert name not in {"", ".", ".."}
        assert not set(name) & set("/\\<>&\n\t")
        assert len(name.encode()) < 200


def test_no_video_takes_the_place_of_the_runs_own_files():
    paths = [Path("status.tsv.mp4"), Path("a/Index.html.mp4"), Path("b/index.html-2.mp4")]
    assert safe_names(paths) == ["status.tsv-2", "Index.html-2", "index.html-2-2"]


def test_what_no_encoding_has_is_printable():
    name = os.fsdecode(b"caf\xe9\n\x1b[31m\xf0\x9f\x91\xa9.mp4")
    assert printable(name) == "caf���[31m👩.mp4"
    assert printable("é👩‍👧.mp4") == "é👩‍👧.mp4"


def test_a_folder_stands_for_its_media(tmp_path):
    for name in ("b.MP4", "a.wav", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    found = find_files([tmp_path])
    assert [path.name for path in found.named.values()] == ["a.wav", "b.MP4"]
    assert {Path(name).name: error.detail for name, error in found.passed_over.items()} == {
        "notes.txt": NO_MEDIA,
        "empty": SUBFOLDER,
    }
    with pytest.raises(PipelineError, match=r"has no media files \(it is empty\)"):
        find_files([tmp_path / "empty"])


def test_a_folders_digest_is_of_names_and_sizes(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"1")
    digest = folder_digest(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert folder_digest(tmp_path) == digest
    (tmp_path / "a.wav").write_bytes(b"12")
    assert folder_digest(tmp_path) != digest


MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


@pytest.mark.parametrize(
    ("container", "pictures", "sound", "expected"),
    [
        (MP4, ("h264", "yuv420p"), "aac", "video/mp4"),
        (MP4, ("h264", "yuv444p"), "aac", None),
        (MP4, ("hevc", "yuv420p"), "aac", None),
        (MP4, None, "aac", "audio/mp4"),
        ("matroska,webm", ("vp9", "yuv420p"), "opus", "video/webm"),
        ("matroska,webm", ("h264", "yuv420p"), "aac", None),
        ("avi", ("mpeg4", "yuv420p"), "mp3", None),
        ("mp3", None, "mp3", "audio/mpeg"),
    ],
)
def test_what_browsers_play_is_left_as_it_is(container, pictures, sound, expected):
    stream = StreamFacts(0, *pictures) if pictures else None
    assert playable_type(MediaFacts(1.0, container, stream, StreamFacts(1, sound))) == expected


def test_a_file_whose_clock_is_not_the_browsers_is_copied():
    streams = StreamFacts(0, "h264", "yuv420p"), StreamFacts(1, "aac")
    assert playable_type(MediaFacts(1.0, MP4, *streams, origin=0.02)) == "video/mp4"
    assert playable_type(MediaFacts(1.0, MP4, *streams, origin=0.06)) is None


def test_what_lies_beside_a_page_is_named_by_its_type(tmp_path):
    video = tmp_path / os.fsdecode(b"v.\xe9")
    video.write_bytes(b"12")
    facts = MediaFacts(1.0, "matroska,webm", StreamFacts(0, "vp9", "yuv420p"), None)
    beside = make_playable(video, facts, tmp_path / "out", 1)
    assert beside == Playback(tmp_path / "out" / "media.webm", "video/webm", False)


def test_a_copy_never_takes_the_place_of_its_video(tmp_path):
    video = tmp_path / "media.mp4"
    video.write_bytes(b"12")
    with pytest.raises(ItemError, match="would overwrite it"):
        make_playable(
            video, MediaFacts(1.0, MP4, StreamFacts(0, "hevc", "yuv420p"), None), tmp_path, 1
        )
    remove_others(tmp_path, video, None)
    assert video.read_bytes() == b"12"


def test_what_an_earlier_page_played_goes_and_nothing_else(tmp_path):
    names = ["media.mp4", "media.txt", "media.webm", "mine.mp4"]
    for name in names:
        (tmp_path / name).touch()
    video = tmp_path / "mine.mp4"
    remove_others(tmp_path, video, Playback(tmp_path / "media.webm", "video/webm", False))
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]
    remove_others(tmp_path, video, Playback(video, "video/mp4", True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["media.txt", "mine.mp4"]


def test_a_large_video_is_linked_beside_the_page_and_left_as_it_was(tmp_path):
    video = tmp_path / "v.MP4"
    video.write_bytes(b"12")
    video.chmod(0o600)
    facts = MediaFacts(1.0, MP4, StreamFacts(0, "h264", "yuv420p"), None)
    folder = tmp_path / "out"
    beside = make_playable(video, facts, folder, 1)
    assert beside == Playback(folder / "media.mp4", "video/mp4", False)
    assert make_playable(video, facts, folder, 1) == beside
    assert beside.path.samefile(video)
    assert video.stat().st_mode & 0o777 == 0o600
    assert make_playable(beside.path, facts, folder, 1).path.read_bytes() == b"12"
    assert make_playable(video, facts, folder, 2) == Playback(video, "video/mp4", True)


# ---- pages


def test_a_page_holds_its_data_its_video_and_no_address(tmp_path):
    video = tmp_path / "v.mp4"
    video.write_bytes(b"\0\1\2")
    marks = make_parsed(
        one_class([0.9], [0.9]), class_names=("</script>",), title="<i>&.mp4", notes=("<u>",)
    )
    write_page(tmp_path, marks, Playback(video, "video/mp4", True))
    page = (tmp_path / "index.html").read_text()
    assert "AAEC" in page
    assert page.count("</script>") == 3
    assert "<i>" not in page
    assert "<u>" not in page
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not asked for


def test_the_page_has_no_class_that_no_threshold_shows():
    probabilities = np.zeros((2, 4, 3))
    probabilities[1, 2, 1] = 0.05
    data = page_data(make_parsed(probabilities))
    assert data["classes"] == ["Class 1"]
    assert data["scores"] == [[[0, 0, 0, 0]], [[0, 0, 500, 0]]]


def test_the_index_names_what_was_left_out(tmp_path):
    parsed = make_parsed(one_class([0.9, 0.9], [0, 0.9]), has_pictures=False, name="a b")
    failures = {"<bad>": ItemError(Status.NOT_MEDIA, "no <container> opens it")}
    write_index(tmp_path, [parsed], failures)
    page = (tmp_path / "index.html").read_text()
    assert 'href="a%20b/index.html"' in page
    assert "&lt;bad&gt;" in page
    assert "no &lt;container&gt; opens it" in page


# ---- classes in words


def test_phrases_become_classes_with_captions():
    bell, dog = classes_from_phrases(split_phrases("a church  bell, Dog ,"))
    assert (bell.name, dog.name) == ("a_church_bell", "Dog")
    assert bell.visual_caption == "A photo of a church bell."
    assert bell.audio_caption == "This is a sound of a church bell"


@pytest.mark.parametrize("phrases", [[], [""], ["dog", "dog"], ["d\x01g"], ["a, b"]])
def test_no_class_or_one_twice_or_one_that_is_no_text_is_refused(phrases):
    with pytest.raises(PipelineError, match="each once"):
        classes_from_phrases(phrases)
