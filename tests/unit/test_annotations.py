from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.annotations import (
    EVENT_TABLES,
    SPLIT_TABLES,
    EventRow,
    events_to_segments,
    find_runs,
    read_events,
    read_names,
    read_weak_labels,
    segments_to_events,
    weak_matrix,
    write_events,
)

VOCABULARY = read_vocabulary()
SPEECH, CAR, DOG = (VOCABULARY.index(name) for name in ("Speech", "Car", "Dog"))
HEADER = "filename\tonset\toffset\tevent_labels\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def segments_of(*intervals: tuple[float, float], segments: int = 10) -> str:
    events = [EventRow("a", onset, offset, DOG) for onset, offset in intervals]
    labels = events_to_segments(events, ["a"], segments, len(VOCABULARY))
    assert labels.sum() == labels[:, :, DOG].sum()
    return "".join(map(str, labels[0, :, DOG]))


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(0, 10)], "1111111111"),
        ([(0, 4), (7, 10)], "1111000111"),
        ([(2, 2)], "0000000000"),
        ([(9, 0)], "0000000000"),
        ([(10, 10)], "0000000000"),
        ([(1, 4), (1, 4)], "0111000000"),
        ([(1, 4), (3, 6)], "0111110000"),
        ([(1, 4), (4, 6)], "0111110000"),
        ([(8, 14)], "0000000011"),
        ([(1.9, 3.9)], "0110000000"),
    ],
)
def test_intervals_set_what_the_published_evaluator_sets(
    intervals: list[tuple[float, float]], expected: str
) -> None:
    assert segments_of(*intervals) == expected


def test_other_segment_counts() -> None:
    assert segments_of((1, 3), segments=4) == "0110"
    assert segments_of((10, 14), segments=20) == "0" * 10 + "1111" + "0" * 6


def test_events_of_other_videos_are_ignored() -> None:
    events = [EventRow("a`", 0, 1, DOG), EventRow("Baby_cry_infant_cry", 0, 4, SPEECH)]
    assert events_to_segments(events, ["a"], 10, 25).sum() == 0


def test_a_run_ends_at_the_border_and_between_classes() -> None:
    labels = np.zeros((2, 3, 2), np.uint8)
    labels[0, 2, 0] = labels[0, 0, 1] = labels[1, :, 1] = 1
    assert segments_to_events(labels, ["a", "b"]) == [
        EventRow("a", 2, 3, 0),
        EventRow("a", 0, 1, 1),
        EventRow("b", 0, 3, 1),
    ]


@settings(deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=7)))
def test_events_give_the_segments_back_and_are_maximal(labels: np.ndarray) -> None:
    names = [f"v{row}" for row in range(len(labels))]
    events = segments_to_events(labels, names)
    back = events_to_segments(events, names, labels.shape[1], labels.shape[2])
    np.testing.assert_array_equal(back, labels)
    found = find_runs(labels)
    assert (found.offset > found.onset).all()
    for event in events:
        row, onset, offset = names.index(event.filename), int(event.onset), int(event.offset)
        line = np.pad(labels[row, :, event.class_index], 1)
        assert not line[onset]
        assert not line[offset + 1]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "-x_1.5_11.5"]), st.integers(0, 12), st.integers(0, 12)
        )
    )
)
def test_written_events_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("events") / "events.csv"
    events = [EventRow(name, onset, offset, CAR) for name, onset, offset in rows]
    write_events(path, events, VOCABULARY)
    assert read_events(path, VOCABULARY) == events


def test_weak_labels(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "\ufefffilename\tevent_labels\tnote\r\n"
        'b_0_10\tDog, Speech,Dog\tsaid "twice\r\n'
        "\r\n"
        "a_0_10\tCar\t\r\n"
        "b_0_10\tCar\tagain\r\n"
        "c_0_10\t\tnothing known\r\n",
    )
    labels = read_weak_labels(path, VOCABULARY)
    assert labels == {"b_0_10": (DOG, SPEECH, CAR), "a_0_10": (CAR,), "c_0_10": ()}
    assert read_names(path) == ["b_0_10", "a_0_10", "c_0_10"]
    matrix = weak_matrix(labels, ["a_0_10", "c_0_10", "b_0_10"], len(VOCABULARY))
    assert matrix.shape == (3, 25)
    assert [np.flatnonzero(row).tolist() for row in matrix] == [[CAR], [], [SPEECH, CAR, DOG]]
    with pytest.raises(PipelineError, match="'zz' is in no weak table"):
        weak_matrix(labels, ["zz"], len(VOCABULARY))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 lacks the column 'filename'"),
        ("filename,onset,offset,event_labels\n", "line 1 lacks the column 'filename'"),
        ("filename\tonset\tevent_labels\n", "line 1 lacks the column 'offset'"),
        (HEADER + "a\t0\t1\tDog\n\na\t0\t1\tdog\n", "line 4: 'dog' is not a class"),
        (HEADER + "a\t0\t1\tDog,Car\n", "line 2: 'Dog,Car' is not a class"),
        (HEADER + "a\tzero\t1\tDog\n", "line 2: onset must be a number of seconds, not 'zero'"),
        (HEADER + "a\t0\tnan\tDog\n", "line 2: offset must be a number of seconds, not 'nan'"),
        (HEADER + "a\t\t1\tDog\n", "line 2: onset must be a number of seconds, not ''"),
        (HEADER + "a\t0\t1\n", "line 2 has 3 tab-separated values, but its header has 4 columns"),
    ],
)
def test_malformed_tables_are_one_sentence_with_their_place(
    tmp_path: Path, text: str, message: str
) -> None:
    path = table(tmp_path, text)
    with pytest.raises(PipelineError) as caught:
        read_events(path, VOCABULARY)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_or_binary_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such file"):
        read_names(tmp_path / "absent.csv")
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PipelineError, match="not UTF-8"):
        read_names(path)


def test_llp_has_the_counts_of_the_dataset(llp_tables: Path) -> None:
    """The corrected tables' numbers of positive segments and of events."""
    positives, found = {}, {}
    for split in ("val", "test"):
        names = read_names(llp_tables / SPLIT_TABLES[split])
        for modality, file in EVENT_TABLES.items():
            labels = events_to_segments(read_events(llp_tables / file, VOCABULARY), names, 10, 25)
            positives[split, modality] = int(labels.sum())
            found[split, modality] = len(segments_to_events(labels, names))
    assert list(positives.values()) == [8089, 6115, 14576, 11789]
    assert list(found.values()) == [1440, 856, 2638, 1625]


def test_llp_weak_labels(llp_tables: Path) -> None:
    labels = {
        split: read_weak_labels(llp_tables / file, VOCABULARY)
        for split, file in SPLIT_TABLES.items()
    }
    assert [len(videos) for videos in labels.values()] == [10_000, 649, 1_200]
    train = weak_matrix(labels["train"], list(labels["train"]), 25).sum(axis=0)
    assert train.tolist()[:4] == [4988, 624, 528, 761]
    assert sum(map(len, labels["test"].values())) == 2178
