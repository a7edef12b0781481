"""Released features as shards: every array checked, every video with a status."""

import io
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from released import (
    Release,
    npy,
    simulated_names,
    simulated_truth,
    write_folders,
    write_zips,
)

from pipeline.cli import main
from pipeline.config.load import effective_config
from pipeline.config.settings import inference_settings
from pipeline.core.errors import PipelineError
from pipeline.core.shards import read_array, read_shard, read_status
from pipeline.core.vocabulary import read_vocabulary
from pipeline.features.import_options import ReleasedFeatures
from pipeline.features.imported import import_features, members_by_id
from pipeline.features.npy_layouts import pool_map
from pipeline.features.read import read_features
from pipeline.features.verify import verify_features
from pipeline.labels.pseudo_labels import make_pseudo_labels
from pipeline.parsers.registry import recipe_for
from pipeline.training.sources import ShardSource

NAMES = simulated_names(12)
FIRST, SECOND = (f"{name[:11]}.npy" for name in NAMES[:2])
SPLITS = {"train": NAMES[:6], "val": NAMES[6:9], "test": NAMES[9:]}
Members = dict[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def release() -> Release:
    return Release(simulated_truth(NAMES))


@pytest.fixture
def imported(
    release: Release, tmp_path: Path
) -> Callable[..., tuple[dict[str, Path], dict[str, str]]]:
    """Return a function that imports some members, and gives folders by kind and statuses."""
    release.write_tables(tmp_path / "tables", SPLITS)

    def run(valor: Members | None, uwav: Members | None = None, han: Members | None = None, **more):
        sources = {}
        for name, members, write in (
            ("valor", valor, write_zips),
            ("uwav", uwav, write_zips),
            ("han", han, write_folders),
        ):
            if members:
                write(tmp_path / name, members)
                sources[name] = str(tmp_path / name)
        features = ReleasedFeatures(**sources, **more)
        out = tmp_path / "features"
        import_features(features, tmp_path / "tables", release.vocabulary, 2, out)
        folders = {kind: out / f"{kind}-{made}" for kind, made in features.fingerprints().items()}
        rows = [row for path in folders["clip"].glob("*.tsv") for row in read_status(path)]
        return folders, {row.filename: f"{row.status} {row.detail}".strip() for row in rows}

    return run


def test_valor_and_uwav_together(imported, release: Release, tmp_path: Path) -> None:
    folders, statuses = imported(release.valor(), release.uwav())
    assert statuses == dict.fromkeys(NAMES, "ok")
    assert verify_features(folders["clip"]).shapes == {
        "embedding": (10, 768),
        "label_embedding": (10, 768),
    }
    assert verify_features(folders["clap"]).shapes == {"map": (10, 768), "embedding": (10, 512)}
    name = NAMES[4]
    clip = read_array(folders["clip"], "embedding").select([name])["embedding"][0]
    np.testing.assert_array_equal(clip, release.embedding(name, release.texts["clip"], 1))
    maps = read_array(folders["clap"], "map").select([name])["map"][0]
    np.testing.assert_array_equal(maps, pool_map(release.map(name)))
    prompts = read_shard(folders["clap"] / "prompts.safetensors")
    assert prompts.names == release.vocabulary.names
    assert float(prompts.meta["logit_scale"]) == pytest.approx(np.exp(3.2912), abs=0.01)
    labels = read_shard(tmp_path / "features/masked_labels.safetensors")
    assert labels.names == tuple(NAMES)
    np.testing.assert_array_equal(
        labels.select([name])["visual_masked"][0], release.masked(name, 1)
    )


@pytest.mark.parametrize("thresholds", ["fixed", "calibrated"])
def test_labels_and_every_method_read_them(
    imported, release: Release, tmp_path: Path, thresholds: str
) -> None:
    folders, _ = imported(release.valor(), release.uwav())
    out = tmp_path / "pseudo_labels"
    masked = tmp_path / "features/masked_labels.safetensors"
    make_pseudo_labels(
        *(folders["clip"], folders["clap"], tmp_path / "tables", release.vocabulary, thresholds),
        *(out, masked),
    )
    labels = read_shard(out / "labels.safetensors")
    np.testing.assert_array_equal(labels["audio_masked"], read_shard(masked)["audio_masked"])
    assert "CLAP.zip" in labels.meta["masked"]
    assert {path.name for path in out.iterdir()} == {
        "labels.safetensors",
        "thresholds.tsv",
        "quality.json",
    }
    source = ShardSource(tmp_path / "features", out)
    for method in ("link", "valorpp", "valor", "han"):
        cached = source.read(NAMES, recipe_for(method, {}), release.vocabulary, True)
        assert cached.names == tuple(NAMES)
        assert cached.audio.shape == (12, 10, 768)
    assert cached.dimensions(25).text_audio == 0
    link = source.read(NAMES, recipe_for("link", {}), release.vocabulary, False)
    assert link.dimensions(25).text_audio == 512
    assert set(link.labels) == {"audio", "visual"}


def test_valor_alone(imported, release: Release, tmp_path: Path) -> None:
    folders, _ = imported(release.valor())
    assert verify_features(folders["clap"]).shapes == {"map": (10, 768)}
    out = tmp_path / "pseudo_labels"
    make_pseudo_labels(
        *(folders["clip"], folders["clap"], tmp_path / "tables", release.vocabulary, "fixed"),
        *(out, tmp_path / "features/masked_labels.safetensors"),
    )
    assert set(read_shard(out / "labels.safetensors").arrays) == {"audio_masked", "visual_masked"}
    source = ShardSource(tmp_path / "features", out)
    cached = source.read(NAMES, recipe_for("valorpp", {}), release.vocabulary, True)
    assert cached.names == tuple(NAMES)


def test_uwav_alone(imported, release: Release, tmp_path: Path) -> None:
    folders, _ = imported(None, release.uwav("LLP/whatever"))
    assert verify_features(folders["clip"]).shapes == {"embedding": (10, 768)}
    assert verify_features(folders["clap"]).shapes == {"embedding": (10, 512)}
    assert not (tmp_path / "features/masked_labels.safetensors").exists()
    out = tmp_path / "pseudo_labels"
    make_pseudo_labels(
        *(folders["clip"], folders["clap"], tmp_path / "tables", release.vocabulary, "calibrated"),
        out,
    )
    recipe = recipe_for("link", {"audio_input": "embedding"})
    cached = ShardSource(tmp_path / "features", out).read(NAMES, recipe, release.vocabulary, True)
    assert cached.audio.shape == (12, 10, 512)


def test_classic_features_of_han(
    imported, release: Release, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    han = release.han()
    folders, _ = imported(release.valor(), release.uwav(), han, inputs="classic")
    assert verify_features(folders["clip"]).shapes["embedding"] == (10, 2048)
    assert verify_features(folders["clap"]).shapes["embedding"] == (10, 128)
    assert verify_features(folders["motion"]).shapes == {"embedding": (10, 512)}
    frames = np.load(tmp_path / "han/res152" / FIRST)
    stored = read_array(folders["clip"], "embedding").select([NAMES[0]])["embedding"][0]
    np.testing.assert_allclose(stored, frames.reshape(10, 8, 2048).mean(axis=1), rtol=1e-6)
    out = tmp_path / "pseudo_labels"
    make_pseudo_labels(
        *(folders["clip"], folders["clap"], tmp_path / "tables", release.vocabulary, "fixed"),
        *(out, tmp_path / "features/masked_labels.safetensors"),
    )
    recipe = recipe_for("valor", {"motion": "true"})
    cached = ShardSource(tmp_path / "features", out).read(NAMES, recipe, release.vocabulary, True)
    assert (cached.audio.shape[2], cached.visual.shape[2]) == (128, 2048)
    assert cached.fingerprints["layout"] == "han", "so the inputs are named as they are"
    with caplog.at_level("INFO"):
        source = ShardSource(tmp_path / "features", out)
        kept = source.read(NAMES, recipe_for("cmpae", {}), release.vocabulary, True)
    assert kept.visual.shape == (12, 10, 2048)
    assert "holds means of 8 frames" in caplog.text


def test_archives_and_what_they_unpack_to_are_the_same(
    imported, release: Release, tmp_path: Path
) -> None:
    folders, _ = imported(release.valor(), release.uwav())
    write_folders(tmp_path / "unpacked", release.valor() | release.uwav())
    features = ReleasedFeatures(valor=str(tmp_path / "unpacked"), uwav=str(tmp_path / "unpacked"))
    import_features(features, tmp_path / "tables", release.vocabulary, 1, tmp_path / "again")
    for kind, made in features.fingerprints().items():
        for key in verify_features(folders[kind]).shapes:
            one = read_array(folders[kind], key)[key]
            other = read_array(tmp_path / "again" / f"{kind}-{made}", key)[key]
            np.testing.assert_array_equal(one, other)


def test_another_number_of_shards_replaces_the_earlier_ones(
    imported, release: Release, tmp_path: Path
) -> None:
    folders, _ = imported(release.valor())
    features = ReleasedFeatures(valor=str(tmp_path / "valor"))
    arguments = features, tmp_path / "tables", release.vocabulary
    import_features(*arguments, 3, tmp_path / "features")
    assert verify_features(folders["clip"]).shards == 3
    assert len(list(folders["clip"].iterdir())) == 2 * 3


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (None, r"missing 'CLIP.zip: features/video000000.npy' is missing"),
        (
            np.zeros((10, 512), np.float32),
            r"bad_array .* is a 10x512 array of float32; it must be 10x768 numbers",
        ),
        (np.full((10, 768), np.nan, np.float32), r"not_finite .* not finite"),
        (
            np.full((10, 768), 1e300),
            r"bad_array .* values up to 1e\+300, too large",
        ),
        (np.zeros((10, 768), np.complex64), r"bad_array .* array of complex64"),
        (np.float32(1), r"bad_array .* is a single array"),
    ],
)
def test_a_video_that_cannot_be_imported_is_a_row(
    imported, release: Release, change: np.ndarray | None, status: str, caplog
) -> None:
    valor = release.valor()
    if change is None:
        del valor["CLIP"][f"CLIP/features/{FIRST}"]
    else:
        valor["CLIP"][f"CLIP/features/{FIRST}"] = npy(np.asarray(change))
    with caplog.at_level(logging.INFO, "pipeline"):
        folders, statuses = imported(valor, release.uwav())
    assert re.match(status, statuses.pop(NAMES[0]))
    assert statuses == dict.fromkeys(NAMES[1:], "ok")
    assert verify_features(folders["clap"]).left_out == 1, "no method trains on it"
    assert "imported 11 of 12 videos" in caplog.text


def test_labels_that_are_no_labels_are_a_row(imported, release: Release) -> None:
    valor = release.valor()
    valor["CLAP"][f"CLAP/segment_pseudo_labels/{FIRST}"] = npy(np.full((10, 25), 0.5))
    _, statuses = imported(valor)
    assert "has labels other than 0 and 1, such as" in statuses[NAMES[0]]


def test_extra_ids_are_counted_and_ignored(imported, release: Release, caplog) -> None:
    valor = release.valor()
    valor["CLIP"]["CLIP/features/notinllp_00.npy"] = npy(np.zeros((10, 768)))
    with caplog.at_level(logging.INFO, "pipeline"):
        _, statuses = imported(valor)
    assert statuses == dict.fromkeys(NAMES, "ok")
    assert "1 of 13 files in features/ belong to no video of the tables" in caplog.text


def test_features_of_another_kind_are_refused_as_a_whole(imported, release: Release) -> None:
    valor = release.valor()
    for name in valor["CLIP"]:
        if "features" in name:
            valor["CLIP"][name] = npy(np.zeros((10, 512), np.float32))
    with pytest.raises(PipelineError, match=r"imported 0 of 12 videos: .*10x512"):
        imported(valor)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("../x.npy", npy(np.zeros(1)), "whose name leaves the folder"),
        (f"CLIP/features/{SECOND}", b"no array", "is not an .npy file"),
    ],
)
def test_hostile_archives_stop_the_import(
    imported, release: Release, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    valor = release.valor()
    valor["CLIP"][name] = content
    with pytest.raises(PipelineError, match=sentence):
        imported(valor)
    assert not list((tmp_path / "features").glob("clip-*/2-of-2.safetensors"))


def test_class_texts_of_other_classes(imported, release: Release) -> None:
    uwav = release.uwav()
    name = "clip_feats/event_feats/all_event_feats.npy"
    uwav["LLP_CLAP"][name] = npy(np.zeros((24, 512), np.float32))
    with pytest.raises(PipelineError, match=r"is a 24x512 array of float32; it must be 25x512"):
        imported(release.valor(), uwav)
    del uwav["LLP_CLAP"][name]
    with pytest.raises(PipelineError, match=r"no folder event_feats/"):
        imported(release.valor(), uwav)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (np.zeros(512), "has a row of zeros; it must have a text for every class"),
        (np.full(512, np.nan), "has values that are not finite"),
        (None, "has the same text for two classes"),
    ],
)
def test_class_texts_that_are_none(
    imported, release: Release, row: np.ndarray | None, sentence: str
) -> None:
    uwav, texts = release.uwav(), release.texts["clap"].copy()
    texts[3] = texts[4] if row is None else row
    uwav["LLP_CLAP"]["clip_feats/event_feats/all_event_feats.npy"] = npy(texts)
    with pytest.raises(PipelineError, match=sentence):
        imported(release.valor(), uwav)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_rows_whose_squares_are_no_float32(imported, release: Release, scale: float) -> None:
    uwav = release.uwav()
    found = next(each for each in uwav["LLP_CLAP"] if each.endswith(f"segment_feats/{FIRST}"))
    rows = np.load(io.BytesIO(uwav["LLP_CLAP"][found]))
    uwav["LLP_CLAP"][found] = npy(rows * np.float32(scale))
    folders, statuses = imported(release.valor(), uwav)
    assert statuses[NAMES[0]] == "ok"
    stored = read_features(folders["clap"])
    kept = stored.arrays["embedding"][stored.names.index(NAMES[0])]
    np.testing.assert_allclose(kept, rows, rtol=1e-5)


def test_a_folder_that_is_there_twice() -> None:
    class Twice:
        path = Path("a.zip")

        def names(self):
            return ["a/features/x.npy", "b/features/x.npy"]

    with pytest.raises(PipelineError, match=r"'a.zip' has 2 folders features/"):
        members_by_id(Twice(), "features")  # type: ignore[arg-type]


def test_the_command(release: Release, tmp_path: Path, capsys) -> None:
    release.write_tables(tmp_path / "tables", SPLITS)
    write_folders(tmp_path / "valor", release.valor())
    words = ["import-features", "--annotations", str(tmp_path / "tables")]
    words += ["--out", str(tmp_path / "features")]
    assert main([*words, "--valor", str(tmp_path / "valor")]) == 0
    assert list((tmp_path / "features").glob("clap-*/1-of-1.safetensors"))
    assert main([*words, "--valor", str(tmp_path / "nowhere")]) == 2
    assert "has neither CLIP.zip nor a folder CLIP/" in capsys.readouterr().err
    assert main(words) == 2
    assert "valor or uwav must be set" in capsys.readouterr().err


LLP = {"preset": "llp_features"}
VALOR_ONLY = {"uwav": None, "valor": "v"}
UWAV_ONLY = {"valor": None, "uwav": "u"}


@pytest.mark.parametrize(
    ("features", "methods", "sentence"),
    [
        (VALOR_ONLY, {"link": {}}, r"link has plsim: true, which needs class texts and logits"),
        (VALOR_ONLY, {"leap": {}}, r"leap has label_texts: clip or clap, which are class texts"),
        (VALOR_ONLY, {"valorpp": {"labels": "soft"}}, r"valorpp has labels: soft"),
        (VALOR_ONLY, {"valorpp": {"audio_input": "embedding"}}, r"which UWAV released"),
        (UWAV_ONLY, {"valorpp": {}}, r"valorpp has audio_input: map, which VALOR released"),
        ({}, {"valorpp": {"motion": True}}, r"valorpp has motion: true.*set dataset.features.han"),
        ({"valor": None, "uwav": None}, {"han": {}}, r"valor or uwav must be set"),
        ({"inputs": "classic"}, {"han": {}}, r"han must name the folder of HAN's features"),
        ({"han": "hf:datasets/a/b"}, {"han": {}}, r"it must be a folder"),
        ({"valro": "v"}, {"han": {}}, r"features\.valro' is unknown; it must be one of valor"),
    ],
)
def test_what_the_inputs_do_not_allow_is_refused_at_once(features, methods, sentence) -> None:
    with pytest.raises(PipelineError, match=sentence) as error:
        effective_config(LLP | {"dataset": {"features": features}, "methods": methods})
    assert "\n" not in str(error.value)


def test_word_vectors_need_no_class_texts() -> None:
    methods = {"leap": {"label_texts": "words"}, "han": {}}
    assert effective_config(LLP | {"dataset": {"features": VALOR_ONLY}, "methods": methods})


def test_other_videos_are_parsed_with_settings_that_name_the_imported_features() -> None:
    config = effective_config(LLP)
    assert config.dataset.features is not None
    settings = inference_settings(config)
    assert settings.imported == config.dataset.features.fingerprints()
    assert settings.fingerprints()["clip"] == settings.imported["clip"]
    assert settings.feature_fingerprints()["clip"] != settings.imported["clip"]
    assert inference_settings(effective_config({"preset": "llp"})).imported == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": None}, r"source is 'features', so features must say where"),
        ({"source": "local", "videos": "v"}, r"features are set, but source is 'local'"),
        ({"segments": 60}, r"segments must be 10 for released features; it is 60"),
        ({"tables": None}, r"'dataset\.tables'"),
    ],
)
def test_a_dataset_of_features_is_whole(changes, sentence) -> None:
    with pytest.raises(PipelineError, match=sentence):
        effective_config(LLP | {"dataset": changes})


def test_thresholds_need_logits_to_be_calibrated() -> None:
    dataset = {"features": VALOR_ONLY}
    values = LLP | {"dataset": dataset, "methods": {"valorpp": {}}}
    effective_config(values)
    with pytest.raises(PipelineError, match="'calibrated', which needs logits"):
        effective_config(values | {"pseudo_labels": {"thresholds": "calibrated"}})


def test_an_ablation_is_checked_when_it_is_configured() -> None:
    dataset = {"features": VALOR_ONLY}
    values = LLP | {"dataset": dataset, "methods": {"link": {"plsim": False}}}
    effective_config(values)
    with pytest.raises(PipelineError, match="full has plsim: true"):
        effective_config(values | {"ablation": {"variants": {"full": {"plsim": True}}}})


def test_the_preset_fetches_both_releases_and_names_folders_before_that() -> None:
    features = effective_config(LLP).dataset.features
    assert features is not None
    assert features.hub_files == [
        "hf:datasets/NTUBarista/valor_features/CLIP.zip",
        "hf:datasets/NTUBarista/valor_features/CLAP.zip",
        "hf:datasets/NTUBarista/uwav_features/LLP_CLIP.zip",
        "hf:datasets/NTUBarista/uwav_features/LLP_CLAP.zip",
    ]
    assert set(features.fingerprints()) == {"clip", "clap"}
    pinned = features.model_copy(update={"valor": "hf:datasets/NTUBarista/valor_features@abc"})
    assert pinned.hub_files[0] == "hf:datasets/NTUBarista/valor_features/CLIP.zip@abc"
    assert pinned.fingerprints()["clap"] != features.fingerprints()["clap"]
    assert len(read_vocabulary()) == 25
