"""Folders of .npy files: what they give, and what is said when something is missing."""

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import Corpus, make_world, write_corpus
from torch.nn import functional

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import EventClass, Vocabulary
from pipeline.parsers.checkpoint import read_checkpoint
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training.dataset import parser_inputs
from pipeline.training.npy_source import NpySource
from pipeline.training.sources import CachedFeatures

NAMES = [f"-_abc{row:06d}_{row}_{row + 10}" for row in range(4)]
CLASSES, CLIP, CLAP = 3, 12, 8
# On the scale of CLIP's logits (100 · cosine) and of the CLAP scale that the tests give (20).
THRESHOLDS = {"visual_threshold": 10.0, "audio_threshold": 2.0}
VOCABULARY = Vocabulary(
    tuple(
        EventClass(name=f"C{row}", visual_caption="a", audio_caption="b", **THRESHOLDS)
        for row in range(CLASSES)
    )
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All that the layout can have, with CLAP embeddings."""
    random = np.random.default_rng(0)
    for name in NAMES:
        save(tmp_path, "CLIP/features", name, random.standard_normal((10, CLIP)))
        save(tmp_path, "CLAP/features", name, random.standard_normal((10, CLAP)))
        save(tmp_path, "st", name, random.standard_normal((10, 5)))
        for encoder in ("CLIP", "CLAP"):
            labels = (random.random((10, CLASSES)) < 0.3).astype(np.float64)
            save(tmp_path, f"{encoder}/segment_pseudo_labels", name, labels)
            logits = random.uniform(-20, 40, (10, CLASSES))
            save(tmp_path, f"{encoder}/segment_logits", name, logits)
    np.save(tmp_path / "text_clip.npy", random.standard_normal((CLASSES, CLIP)))
    np.save(tmp_path / "text_clap.npy", random.standard_normal((CLASSES, CLAP)))
    return tmp_path


def save(folder: Path, kind: str, name: str, array: np.ndarray) -> None:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    np.save(folder / kind / f"{name[:11]}.npy", array)


def read(
    folder: Path,
    method: str = "link",
    scale: float | None = None,
    layout: str = "valor",
    labels: Path | None = None,
    **options: object,
) -> CachedFeatures:
    source = NpySource(folder, layout, scale, labels)
    return source.read(NAMES, recipe_for(method, options), VOCABULARY, for_training=True)


def test_everything_is_read_by_id(folder: Path) -> None:
    cache = read(folder, motion=True)
    assert cache.names == tuple(NAMES)
    row = np.load(folder / "CLIP" / "features" / "-_abc000002.npy")
    np.testing.assert_allclose(cache.visual[2], row, rtol=1e-6)
    logits = np.load(folder / "CLAP" / "segment_logits" / "-_abc000001.npy")
    np.testing.assert_array_equal(cache.labels["audio"][1], logits > 2.0)
    masked = np.load(folder / "CLIP" / "segment_pseudo_labels" / "-_abc000003.npy")
    np.testing.assert_array_equal(cache.labels["visual_masked"][3], masked)
    assert cache.motion is not None
    assert vars(cache.dimensions(CLASSES)) == {
        **{"audio": CLAP, "visual": CLIP, "motion": 5, "text_audio": CLAP, "text_visual": CLIP},
        **{"segments": 10, "classes": CLASSES},
    }


def test_map_of_64_steps_is_pooled_as_valorpp_does(folder: Path) -> None:
    random = np.random.default_rng(1)
    maps = {name: random.standard_normal((64, 6)).astype(np.float32) for name in NAMES}
    for name, array in maps.items():
        save(folder, "CLAP/features", name, array)
    pooled = read(folder).audio
    assert pooled.shape == (4, 10, 6)
    for row, name in enumerate(NAMES):
        grid = torch.from_numpy(maps[name].T).reshape(1, 6, 2, 32)
        wide = functional.interpolate(grid, (2, 1024), mode="bicubic", align_corners=False)
        expected = functional.adaptive_avg_pool1d(wide.mean(dim=2), 10)[0].T
        np.testing.assert_allclose(pooled[row], expected.numpy(), atol=1e-5)


def test_labels_come_from_embeddings_and_texts_without_logits(folder: Path) -> None:
    for encoder in ("CLIP", "CLAP"):
        shutil.rmtree(folder / encoder / "segment_logits")
    cache = read(folder, scale=20.0)
    for modality, scale, threshold in (("audio", 20, 2), ("visual", 100, 10)):
        features, texts = getattr(cache, modality), cache.texts[modality]
        lengths = np.linalg.norm(features, axis=-1)[..., None] * np.linalg.norm(texts, axis=-1)
        expected = scale * (features @ texts.T) / lengths > threshold
        np.testing.assert_array_equal(cache.labels[modality], expected)
        assert 0 < expected.mean() < 1


def test_videos_that_lack_a_file_are_left_out(folder: Path) -> None:
    (folder / "CLAP" / "features" / "-_abc000001.npy").unlink()
    assert read(folder, "han").names == (NAMES[0], *NAMES[2:])


def test_a_method_asks_only_for_what_it_needs(folder: Path) -> None:
    for kind in ("CLIP/segment_logits", "CLAP/segment_logits", "st"):
        shutil.rmtree(folder / kind)
    (folder / "text_clip.npy").unlink()
    assert set(read(folder, "valorpp").labels) == {"audio_masked", "visual_masked"}
    assert set(read(folder, "link", plsim=False).labels) == {"audio_masked", "visual_masked"}
    shutil.rmtree(folder / "CLIP" / "segment_pseudo_labels")
    assert read(folder, "han").labels == {}


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["text_clap.npy"], r"the class texts '.*text_clap\.npy' are missing"),
        (["CLAP/segment_logits"], "set --clap-logit-scale"),
        (
            ["text_clap.npy", "CLAP/segment_logits"],
            r"CLAP/segment_logits' is missing, .*'.*text_clap\.npy' is missing too.* or the texts",
        ),
        (
            ["CLAP/segment_pseudo_labels"],
            r"none of the 4 videos has a file in every folder \(files found: .*/CLAP/features 4, "
            r".*/CLAP/segment_pseudo_labels 0,",
        ),
        (["CLIP"], r"none of the 4 videos .*/CLAP/features 4, .*/CLIP/features 0, "),
    ],
)
def test_what_is_missing_is_named(folder: Path, missing: list[str], message: str) -> None:
    for name in missing:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(PipelineError, match=message):
        read(folder)


def test_map_without_logits_cannot_give_a_prior(folder: Path) -> None:
    shutil.rmtree(folder / "CLAP" / "segment_logits")
    for name in NAMES:
        save(folder, "CLAP/features", name, np.ones((10, 6)))
    with pytest.raises(PipelineError, match="have 6 dimensions but class texts have 8"):
        read(folder, scale=20.0)


def test_other_shapes_and_pickles_are_refused(folder: Path) -> None:
    save(folder, "CLIP/features", NAMES[1], np.ones((9, CLIP)))
    with pytest.raises(PipelineError, match=r"has shape \(9, 12\), but the first file \(10, 12\)"):
        read(folder)
    np.save(
        folder / "CLIP" / "features" / "-_abc000001.npy",
        np.array([{"a": 1}], dtype=object),
        allow_pickle=True,
    )
    with pytest.raises(PipelineError, match=r"is not a plain \.npy array"):
        read(folder)


def test_features_of_another_length_are_refused(folder: Path) -> None:
    for name in NAMES:
        save(folder, "CLIP/features", name, np.ones((9, CLIP)))
    with pytest.raises(PipelineError, match=r"segments per video \(audio 10, visual 9"):
        read(folder)


@pytest.mark.parametrize("kind", ["segment_pseudo_labels", "segment_logits"])
def test_other_number_of_classes_is_refused(folder: Path, kind: str) -> None:
    for name in NAMES:
        save(folder, f"CLIP/{kind}", name, np.ones((10, 7)))
    with pytest.raises(PipelineError, match="have 7 classes, but the vocabulary has 3"):
        read(folder)


def write_files(corpus: Corpus, folder: Path, shapes: dict[str, tuple[int, int]]) -> None:
    """Write random files of some kinds for every video of a corpus; labels are of 0 and 1."""
    random = np.random.default_rng(2)
    for table in corpus.annotations.glob("AVVP_*"):
        for line in table.read_text().splitlines()[1:]:
            for kind, shape in shapes.items():
                is_label = "segment_" in kind
                array = random.random(shape) < 0.3 if is_label else random.standard_normal(shape)
                save(folder, kind, line.split("\t")[0], array)
    np.save(folder / "text_clip.npy", random.standard_normal((CLASSES, CLIP)))
    np.save(folder / "text_clap.npy", random.standard_normal((CLASSES, CLAP)))


LABELS = {
    f"{encoder}/segment_{kind}": (10, CLASSES)
    for encoder in ("CLIP", "CLAP")
    for kind in ("pseudo_labels", "logits")
}
HAN_FILES = {"vggish": (10, 5), "res152": (80, 6), "r2plus1d_18": (10, 7)}
VALOR_FILES = {"CLIP/features": (10, CLIP), "CLAP/features": (10, CLAP)}


@pytest.mark.parametrize(
    ("layout", "method", "files", "features", "widths"),
    [
        ("valor", "link", VALOR_FILES | LABELS, ".", (CLAP, CLIP, 0)),
        ("han", "han", HAN_FILES, ".", (5, 6, 7)),
        ("han", "cmpae", HAN_FILES, ".", (5, 6, 7)),
        (
            *("han", "valor"),
            {f"feats/{kind}": shape for kind, shape in HAN_FILES.items()} | LABELS,
            *("feats", (5, 6, 7)),
        ),
        (
            *("valor", "valorpp"),
            VALOR_FILES | LABELS | {"feats/r2plus1d_18": (10, 7)},
            *(".", (CLAP, CLIP, 7)),
        ),
    ],
)
def test_train_and_predict_run_on_the_layouts(
    tmp_path: Path,
    layout: str,
    method: str,
    files: dict[str, tuple[int, int]],
    features: str,
    widths: tuple[int, int, int],
) -> None:
    corpus = write_corpus(tmp_path / "corpus", make_world(classes=CLASSES))
    write_files(corpus, tmp_path / "data", files)
    out, again = tmp_path / "model", tmp_path / "again"
    common = ["--layout", layout, *corpus.words(), "--features", str(tmp_path / "data" / features)]
    words = ["train", "--method", method, *common, "--out", str(out)]
    options = ["epochs=2", "width=16", "heads=2", "layers=1", "feedforward=16"]
    for option in [*options, f"motion={widths[2] > 0}"]:
        words += ["--option", option]
    assert main(words) == 0
    assert (out / "metrics.json").is_file()
    dimensions = read_checkpoint(out).dimensions
    assert (dimensions.audio, dimensions.visual, dimensions.motion) == widths
    words = ["predict", "--checkpoint", str(out), "--split", "val", *common, "--out", str(again)]
    assert main(words) == 0
    file = "predicted_val_audio.csv"
    assert (out / file).read_bytes() == (again / file).read_bytes()


def test_st_comes_before_the_motion_of_valors_own_tree(folder: Path) -> None:
    for name in NAMES:
        save(folder, "feats/r2plus1d_18", name, np.ones((10, 7)))
    for width in (5, 7):
        motion = read(folder, motion=True).motion
        assert motion is not None
        assert motion.shape[2] == width
        shutil.rmtree(folder / "st", ignore_errors=True)


def test_labels_lie_with_the_features_or_above_or_where_they_are_said_to(folder: Path) -> None:
    feats = folder / "feats"
    for name in NAMES:
        save(feats, "vggish", name, np.ones((10, 5)))
        save(feats, "res152", name, np.ones((80, 6)))
    above = read(feats, "valor", layout="han")
    row = np.load(folder / "CLAP" / "segment_pseudo_labels" / f"{NAMES[1][:11]}.npy")
    np.testing.assert_array_equal(above.labels["audio_masked"][1], row)
    ones = folder / "elsewhere"
    for place, value in ((ones, 1), (feats, 0)):
        for encoder in ("CLIP", "CLAP"):
            for name in NAMES:
                labels = np.full((10, CLASSES), value)
                save(place, f"{encoder}/segment_pseudo_labels", name, labels)
    assert read(feats, "valor", layout="han", labels=ones).labels["audio_masked"].all()
    assert not read(feats, "valor", layout="han").labels["audio_masked"].any()


def test_the_fingerprint_of_a_prior_is_of_thresholds_and_texts(folder: Path) -> None:
    assert "labels" not in read(folder, "valorpp").fingerprints
    found = [read(folder).fingerprints["labels"], read(folder, scale=20.0).fingerprints["labels"]]
    assert found[0] == found[1]  # logits are there, so the scale makes nothing
    higher = VOCABULARY.classes[0].model_copy(update={"audio_threshold": 3.0})
    vocabulary = Vocabulary((higher, *VOCABULARY.classes[1:]))
    cache = NpySource(folder, "valor").read(NAMES, recipe_for("link", {}), vocabulary, False)
    found.append(cache.fingerprints["labels"])
    np.save(folder / "text_clap.npy", np.eye(CLASSES, CLAP))
    found.append(read(folder).fingerprints["labels"])
    shutil.rmtree(folder / "CLAP" / "segment_logits")
    found += [read(folder, scale=scale).fingerprints["labels"] for scale in (20.0, 21.0)]
    assert len(set(found)) == 5


def test_class_texts_without_a_prior_need_neither_logits_nor_thresholds(folder: Path) -> None:
    for encoder in ("CLIP", "CLAP"):
        shutil.rmtree(folder / encoder / "segment_logits")
    cache = read(folder, "leap")
    assert set(cache.labels) == {"audio_masked", "visual_masked"}
    np.testing.assert_allclose(cache.texts["visual"], np.load(folder / "text_clip.npy"), rtol=1e-6)
    assert set(cache.fingerprints) == {"layout", "texts"}
    np.save(folder / "text_clip.npy", np.eye(CLASSES, CLIP))
    assert read(folder, "leap").fingerprints["texts"] != cache.fingerprints["texts"]
    (folder / "text_clap.npy").unlink()
    with pytest.raises(PipelineError, match=r"cannot find the class texts .*text_clap\.npy"):
        read(folder, "leap")


def test_word_vectors_stay_as_they_are_and_serve_both_modalities(folder: Path) -> None:
    words = np.arange(CLASSES * 6).reshape(CLASSES, 6)
    (folder / "text_clip.npy").unlink()
    with pytest.raises(PipelineError, match=r"word vectors '.*text_words\.npy' are missing"):
        read(folder, "leap", label_texts="words")
    np.save(folder / "text_words.npy", words[1:])
    with pytest.raises(PipelineError, match=r"has shape \(2, 6\), .* 3 classes"):
        read(folder, "leap", label_texts="words")
    np.save(folder / "text_words.npy", words)
    cache = read(folder, "leap", label_texts="words")
    for texts in cache.texts.values():
        np.testing.assert_array_equal(texts, words)
    assert cache.dimensions(CLASSES).text_visual == 6
    np.save(folder / "text_words.npy", words + 1)
    other = read(folder, "leap", label_texts="words")
    assert other.fingerprints["texts"] != cache.fingerprints["texts"]


@pytest.fixture
def han_folder(tmp_path: Path) -> Path:
    """HAN's three kinds of features, in their real sizes."""
    random = np.random.default_rng(3)
    for name in NAMES:
        save(tmp_path, "vggish", name, random.standard_normal((10, 128)))
        save(tmp_path, "res152", name, random.standard_normal((80, 2048)))
        save(tmp_path, "r2plus1d_18", name, random.standard_normal((10, 512)))
    return tmp_path


def test_hans_features_are_read_and_its_network_is_as_large_as_published(han_folder: Path) -> None:
    cache = read(han_folder, "han", layout="han", motion=True)
    assert (cache.audio.shape, cache.visual.shape) == ((4, 10, 128), (4, 10, 2048))
    frames = np.load(han_folder / "res152" / f"{NAMES[2][:11]}.npy")
    np.testing.assert_allclose(cache.visual[2, 3], frames[24:32].mean(axis=0), atol=1e-6)
    parser = build_network("han", cache.dimensions(25), recipe_for("han", {"motion": True}))
    assert parser.parameter_count() == 4_569_675  # 4.57 M that learn, in HAN's code


def test_pooling_hans_frames_first_is_what_its_network_computes(han_folder: Path) -> None:
    cache = read(han_folder, "han", layout="han")
    layer = torch.nn.Linear(2048, 16).double()
    frames = torch.from_numpy(np.load(han_folder / "res152" / f"{NAMES[0][:11]}.npy"))
    theirs = layer(frames).view(10, 8, 16).mean(dim=1)
    ours = layer(torch.from_numpy(cache.visual[0]).double())
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_frames_are_averaged_file_by_file(tmp_path: Path) -> None:
    names = [f"-_abc{row:06d}_0_10" for row in range(40)]
    for name in names:
        save(tmp_path, "vggish", name, np.ones((10, 4), np.float32))
        save(tmp_path, "res152", name, np.ones((80, 512), np.float32))
    source = NpySource(tmp_path, "han")
    tracemalloc.start()
    try:
        visual = source.read(names, recipe_for("han", {}), VOCABULARY, True).visual
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * visual.nbytes  # all files would be eight times as much, stacked sixteen


def test_a_method_that_keeps_frames_gets_all_eighty(han_folder: Path) -> None:
    cache = read(han_folder, "cmpae", layout="han", motion=True)
    assert cache.visual.shape == (4, 10, 8, 2048)
    assert cache.visual.dtype == np.float32
    frames = np.load(han_folder / "res152" / f"{NAMES[2][:11]}.npy")
    np.testing.assert_array_equal(cache.visual[2, 3], frames[24:32].astype(np.float32))
    averaged = read(han_folder, "han", layout="han").visual
    np.testing.assert_array_equal(cache.visual.mean(axis=2), averaged)
    dimensions = cache.dimensions(25)
    assert dimensions == read(han_folder, "han", layout="han", motion=True).dimensions(25)
    parser = build_network("cmpae", dimensions, recipe_for("cmpae", {"motion": True}))
    assert parser.parameter_count() == 5_383_293
    (_, inputs) = parser_inputs(cache, "train", NAMES)
    assert inputs.visual.data_ptr() == cache.visual.ctypes.data  # 6.6 GB of LLP are not copied
    assert parser.eval()(inputs).prediction().segments.shape == (4, 10, 2, 25)
    (_, some) = parser_inputs(cache, "val", NAMES[2:])
    np.testing.assert_array_equal(some.visual.numpy(), cache.visual[2:])


def test_a_layout_of_one_frame_a_second_has_no_frames_to_keep(folder: Path) -> None:
    assert read(folder, "cmpae").visual.shape == (4, 10, CLIP)


def test_frames_that_are_not_eight_a_second_are_refused(han_folder: Path) -> None:
    for name in NAMES:
        save(han_folder, "res152", name, np.ones((82, 2048)))
    with pytest.raises(PipelineError, match="82 rows per video, which must be a multiple of 8"):
        read(han_folder, "han", layout="han")


def test_hans_features_have_no_space_in_common_with_texts(han_folder: Path) -> None:
    for encoder in ("CLIP", "CLAP"):
        for name in NAMES:
            save(han_folder, f"{encoder}/segment_pseudo_labels", name, np.ones((10, CLASSES)))
    np.save(han_folder / "text_clip.npy", np.eye(CLASSES, CLIP))
    np.save(han_folder / "text_clap.npy", np.eye(CLASSES, CLAP))
    assert read(han_folder, "valor", layout="han").labels
    with pytest.raises(PipelineError, match="have 128 dimensions but class texts have 8"):
        read(han_folder, layout="han")


def read_soft(folder: Path) -> CachedFeatures:
    recipe = recipe_for("valorpp", {"labels": "soft"})
    return NpySource(folder, "valor").read(NAMES, recipe, VOCABULARY, for_training=True)


def test_soft_labels_come_from_logits(folder: Path) -> None:
    cache = read_soft(folder)
    logits = np.load(folder / "CLAP" / "segment_logits" / "-_abc000001.npy")
    expected = 1 / (1 + np.exp((2.0 - logits) / 2))
    np.testing.assert_allclose(cache.labels["audio_soft"][1], expected, rtol=1e-5, atol=1e-7)
    shutil.rmtree(folder / "CLAP" / "segment_logits")
    with pytest.raises(PipelineError, match=r"need logits, but .* hard labels"):
        read_soft(folder)


def broken(kind: str) -> Callable[[Path], None]:
    """Return what puts a value that is no number, or no label, into one video's file."""

    def write(path: Path) -> None:
        array = np.load(path)
        if kind == "npz":
            with path.open("wb") as file:
                np.savez(file, array)
            return
        if kind == "text":
            array = array.astype(str)
        else:
            array[3, 2] = {"nan": np.nan, "inf": np.inf, "float64": 1e300}.get(kind) or float(kind)
        np.save(path, array)

    return write


@pytest.mark.parametrize(
    ("where", "kind", "message"),
    [
        ("CLIP/features", "nan", "not finite .*such as nan"),
        ("CLAP/features", "inf", "not finite .*such as inf"),
        ("st", "nan", "not finite .*such as nan"),
        ("CLIP/features", "float64", "not finite .*such as inf"),
        ("CLIP/features", "text", "values of type <U"),
        ("CLIP/features", "npz", r"is an \.npz archive"),
        ("CLAP/segment_logits", "nan", "not finite .*such as nan"),
        ("CLAP/segment_pseudo_labels", "255", "labels other than 0 and 1, such as 255"),
        ("CLIP/segment_pseudo_labels", "-1", "labels other than 0 and 1, such as -1"),
        ("CLIP/segment_pseudo_labels", "nan", "not finite .*such as nan"),
    ],
)
@pytest.mark.parametrize("for_training", [True, False])
def test_numbers_that_no_method_can_use_are_refused_in_every_split(
    folder: Path, where: str, kind: str, message: str, for_training: bool
) -> None:
    path = folder / where / f"{NAMES[2][:11]}.npy"
    broken(kind)(path)
    recipe = recipe_for("link", {"motion": True})
    source = NpySource(folder, "valor")
    if not for_training and "pseudo_labels" in where:
        source.read(NAMES, recipe, VOCABULARY, for_training)
        return
    with pytest.raises(PipelineError, match=message) as raised:
        source.read(NAMES, recipe, VOCABULARY, for_training)
    assert str(path) in str(raised.value)
    assert "delete it to leave its video out" in str(raised.value) or kind == "npz"
    path.unlink()
    assert len(source.read(NAMES, recipe, VOCABULARY, for_training).names) == 3


def test_class_texts_that_two_classes_share_are_refused(folder: Path) -> None:
    np.save(folder / "text_clip.npy", np.ones((CLASSES, CLIP)))
    with pytest.raises(PipelineError, match="the same text embedding for 'C0' and 'C1'"):
        read(folder)


def test_two_windows_of_one_id_cannot_read_one_file(folder: Path) -> None:
    names = [*NAMES, f"{NAMES[0][:11]}_50_60"]
    with pytest.raises(PipelineError, match="1 ids belong to several videos, including '-_abc0000"):
        NpySource(folder, "valor").read(names, recipe_for("han", {}), VOCABULARY, False)


def test_splits_that_share_a_video_or_an_id_are_refused(tmp_path: Path, capsys) -> None:
    corpus = write_corpus(tmp_path / "corpus", make_world(classes=CLASSES))
    write_files(corpus, tmp_path / "data", VALOR_FILES | LABELS)
    words = ["train", "--method", "valorpp", *corpus.words(), "--out", str(tmp_path / "out")]
    test, train = corpus.annotations / "AVVP_test_pd.csv", corpus.annotations / "AVVP_train.csv"
    whole, name = test.read_text(), train.read_text().splitlines()[1].split("\t")[0]
    npy = ["--layout", "valor", "--features", str(tmp_path / "data")]
    for line, more, message in (
        (name, [], f"'{name}' is in the splits train and test"),
        (name, npy, f"'{name}' is in the splits train and test"),
        (f"{name[:11]}_50_60", npy, "1 ids belong to several videos"),
    ):
        test.write_text(f"{whole}{line}\tClass_0\n")
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
