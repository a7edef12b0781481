import csv
from collections import Counter
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.annotation_checks import FINDING_KINDS, Finding, check_annotations
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES

VOCABULARY = read_vocabulary()

TABLES = {
    "AVVP_train.csv": "filename\tevent_labels\nt_8.5_18.5\tDog\nt_0_10\tDog\nt_0_10\tCar\n",
    "AVVP_val_pd.csv": "filename\tevent_labels\nv_0_10\tSpeech,Dog,Speech\nt_0_10\tDog\n",
    "AVVP_eval_audio.csv": (
        "filename\tonset\toffset\tevent_labels\n"
        "v_0_10\t0\t4\tSpeech\n"
        "v_0_10\t0\t4\tSpeech\n"
        "v_0_10\t1\t2\tSpeech\n"
        "v_0_10\t3\t6\tSpeech\n"
        "v_0_10\t6\t7\tSpeech\n"
        "v_0_10\t9\t0\tCheering\n"
        "v_0_10\t4.5\t6\tCar\n"
        "v_0_10`\t0\t1\tCat\n"
    ),
    "AVVP_eval_visual.csv": "filename\tonset\toffset\tevent_labels\nt_0_10\t0\t10\tDog\n",
    "AVVP_dataset_full.csv": (
        "filename\tevent_labels\nt_8.5_18.5\tDog\nt_0_10\tCar,Dog\nx_0_10\tCar\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_oddity_is_listed_once(folder: Path) -> None:
    left_out = {"version", "absent_class"}
    found = [each for each in check_annotations(folder, VOCABULARY) if each.kind not in left_out]
    audio, full, val = "AVVP_eval_audio.csv", "AVVP_dataset_full.csv", "AVVP_val_pd.csv"
    assert found == [
        Finding("missing_table", "AVVP_test_pd.csv", "", "stages that need it will fail"),
        Finding("repeated_video", "AVVP_train.csv", "t_0_10", "again in line 4"),
        Finding("repeated_label", val, "v_0_10", "Speech"),
        Finding("fractional_time", "AVVP_train.csv", "t_8.5_18.5", "8.5 to 18.5"),
        Finding("two_splits", val, "t_0_10", "also in train"),
        Finding(
            "full_table_differs", full, "t_0_10", "labels differ from those of the split table"
        ),
        Finding("full_table_differs", full, "v_0_10", "only in a split table"),
        Finding("full_table_differs", full, "x_0_10", "only in the full table"),
        Finding("unknown_video", audio, "v_0_10`", "its events are ignored"),
        Finding("sets_nothing", audio, "v_0_10", "Cheering 9 to 0"),
        Finding("fractional_event", audio, "v_0_10", "Car 4.5 to 6"),
        Finding("repeated_event", audio, "v_0_10", "Speech 0 to 4, 2 times"),
        Finding("overlapping_events", audio, "v_0_10", "Speech 0 to 4 and Speech 1 to 2"),
        Finding("overlapping_events", audio, "v_0_10", "Speech 0 to 4 and Speech 3 to 6"),
        Finding("event_without_weak_label", audio, "v_0_10", "Car"),
        Finding("weak_label_without_event", val, "v_0_10", "Dog"),
    ]


def test_segments_decide_what_an_event_covers(folder: Path) -> None:
    found = check_annotations(folder, VOCABULARY, segments=6)
    details = {oddity.kind: oddity.detail for oddity in found}
    assert details["sets_nothing"] == "Cheering 9 to 0"
    assert details["outside_window"] == "Speech 6 to 7"


def test_the_command_writes_the_report_and_warns_once_a_kind(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report" / "check.tsv"
    with (folder / "AVVP_eval_audio.csv").open("a") as table:
        table.write("v_0_10\t10\t12\tCheering\nv_0_10\t8\t25\tCheering\n")
    with (folder / "AVVP_train.csv").open("a") as table:
        table.write("bare_0_10\t\n")
    assert main(["annotations", f"--annotations={folder}", f"--out={out}"]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == ["kind", "table", "filename", "detail"]
    assert {row["kind"] for row in rows} == set(FINDING_KINDS)
    log = capsys.readouterr().err
    assert log.count("WARNING") == len(FINDING_KINDS) - 1
    assert "one class, which are merged): 2, listed" in log
    assert "LLP release" not in log, "another dataset is not compared with LLP"


def test_a_folder_without_tables_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="has none of the tables AVVP_train"):
        check_annotations(tmp_path, VOCABULARY)


def test_llp_has_its_known_oddities(llp_tables: Path) -> None:
    found = check_annotations(llp_tables, VOCABULARY)
    assert Counter((oddity.kind, oddity.table) for oddity in found) == {
        **{("version", path.name): 1 for path in llp_tables.glob("*.csv")},
        ("repeated_label", "AVVP_test_pd.csv"): 1,
        ("fractional_time", "AVVP_train.csv"): 5,
        ("unknown_video", "AVVP_eval_audio.csv"): 8,
        ("unknown_video", "AVVP_eval_visual.csv"): 7,
        ("sets_nothing", "AVVP_eval_audio.csv"): 6,
        ("repeated_event", "AVVP_eval_audio.csv"): 8,
        ("overlapping_events", "AVVP_eval_audio.csv"): 15,
        ("event_without_weak_label", "AVVP_eval_audio.csv"): 44,
        ("event_without_weak_label", "AVVP_eval_visual.csv"): 34,
        ("weak_label_without_event", "AVVP_val_pd.csv"): 12,
        ("weak_label_without_event", "AVVP_test_pd.csv"): 23,
    }
    absent = [oddity.detail for oddity in found if oddity.kind == "weak_label_without_event"]
    assert sum(len(detail.split(",")) for detail in absent) == 13 + 25
    releases = {oddity.table: oddity.detail for oddity in found if oddity.kind == "version"}
    assert releases["AVVP_eval_audio.csv"].startswith("LLP, corrected in 2024;")
    assert releases.keys() >= {*SPLIT_TABLES.values(), *EVENT_TABLES.values()}
    assert all(detail.startswith("LLP") for detail in releases.values())


def test_a_changed_table_of_llp_is_named(llp_tables: Path, tmp_path: Path) -> None:
    for table in (*SPLIT_TABLES.values(), *EVENT_TABLES.values()):
        content = (llp_tables / table).read_bytes()
        (tmp_path / table).write_bytes(content + (b"\n" if table == "AVVP_train.csv" else b""))
    found = check_annotations(tmp_path, read_vocabulary())
    releases = {finding.table: finding.detail for finding in found if finding.kind == "version"}
    assert releases["AVVP_train.csv"].startswith("not a known LLP release; SHA-256 ")
    assert releases["AVVP_val_pd.csv"].startswith("LLP; ")


def test_the_earlier_release_is_recognised(old_audio_table: Path) -> None:
    found = check_annotations(old_audio_table.parent, VOCABULARY)
    assert found[0].detail.startswith("LLP, before the correction of 2024;")
    unknown = {oddity.filename for oddity in found if oddity.kind == "unknown_video"}
    assert {"Baby_cry_infant_cry", "KvIjsmANkxI_10_20`"} <= unknown


def test_events_that_leave_the_window_are_listed(folder: Path) -> None:
    header = "filename\tonset\toffset\tevent_labels\n"
    rows = ["v_0_10\t8\t25\tSpeech", "v_0_10\t-3\t1\tDog", "v_0_10\t-4\t-2\tDog"]
    rows += ["v_0_10\t10\t12\tDog", "v_0_10\t0\t10\tCar"]
    (folder / "AVVP_eval_audio.csv").write_text(header + "\n".join(rows) + "\n")
    found = [each for each in check_annotations(folder, VOCABULARY) if "window" in each.kind]
    assert [each.detail for each in found] == ["Dog -4 to -2", "Dog 10 to 12"]
    cut = [each for each in check_annotations(folder, VOCABULARY) if each.kind == "cut_event"]
    assert [each.detail for each in cut] == ["Speech 8 to 25", "Dog -3 to 1"]
    longer = {each.kind for each in check_annotations(folder, VOCABULARY, segments=60)}
    assert "cut_event" in longer, "an event before 0 is cut whatever T is"


def test_classes_and_videos_that_teach_nothing_are_listed(folder: Path) -> None:
    names = [name for name in VOCABULARY.names if name != "Dog"]
    (folder / "AVVP_train.csv").write_text(
        f"filename\tevent_labels\nx_0_10\t{','.join(names)}\nbare_0_10\t\n"
    )
    found = check_annotations(folder, VOCABULARY)
    train = [each for each in found if each.table == "AVVP_train.csv" and each.kind != "version"]
    assert [(each.kind, each.filename, each.detail) for each in train] == [
        ("no_label", "bare_0_10", ""),
        ("absent_class", "", "Dog"),
    ]
    absent = {each.detail for each in found if each.kind == "absent_class" and "val" in each.table}
    assert absent == set(VOCABULARY.names) - {"Speech", "Dog"}
