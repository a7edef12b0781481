"""Check that what a configuration names is there and fits, and name it by its contents.

The workflow does so before its first job; every sentence begins with the key. Digests change with
contents alone, not with paths or time stamps.
"""

import difflib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pipeline.config.models import UNAV_ARCHIVES, Config
from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint, sha256_of
from pipeline.core.references import is_hub_reference, located
from pipeline.core.vocabulary import Vocabulary, read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, read_rows
from pipeline.data.corrections import correction_tables
from pipeline.data.manifest import ManifestSource
from pipeline.features.encoders.options import EncoderOptions

# Where the libraries keep the architectures that they know by name.
ARCHITECTURES = {"open_clip": "model_configs", "laion_clap": "clap_module/model_configs"}
# The image size of architectures that give none, in open_clip and in transformers.
DEFAULT_IMAGE_SIZE = 224


def check_inputs(config: Config, made: Iterable[str] = ()) -> None:
    """Check the files and folders that a configuration names, except folders of videos.

    Parameters
    ----------
    config
        The configuration.
    made
        Folders that the workflow itself makes.

    Raises
    ------
    PipelineError
        One is missing, or does not fit another value.
    """
    dataset = config.dataset
    if dataset.annotations and dataset.annotations not in made:
        _check_tables(dataset.annotations)
    vocabulary_of(config)
    if dataset.corrections:
        with _named("dataset.corrections"):
            correction_tables(Path(dataset.corrections))
    if dataset.features is None:
        for name, encoder in config.encoders.by_name.items():
            _check_encoder(f"encoders.{name}", encoder)
    else:
        with _named("dataset.features"):
            dataset.features.digest()
    _check_frame_size(config)
    _check_teacher(config)


def vocabulary_of(config: Config) -> Vocabulary:
    """Return a configuration's classes.

    Raises
    ------
    PipelineError
        The vocabulary is missing or malformed.
    """
    with _named("dataset.vocabulary"):
        return read_vocabulary(Path(located(config.dataset.vocabulary)))


def check_videos(config: Config, source: ManifestSource) -> str:
    """Check that every split has videos; return how many are there, or nothing if all are.

    Raises
    ------
    PipelineError
        A split has no video with a file.
    """
    counts = source.counts()
    folder = f"dataset.videos '{config.dataset.videos}'"
    for split, (found, listed) in counts.items():
        if not found:
            raise PipelineError(
                f"{folder} has files for 0 of {listed:,} {split} videos of"
                f" {SPLIT_TABLES[split]}; put them there, named by their full name or id, or check"
                " dataset.videos."
            )
    if all(found == listed for found, listed in counts.values()):
        return ""
    parts = [f"{found:,} of {listed:,} {split}" for split, (found, listed) in counts.items()]
    return f"{folder} has files for {', '.join(parts)} videos; the others are left out."


def check_folder(key: str, folder: str, advice: str) -> None:
    """Check that a folder is there.

    Raises
    ------
    PipelineError
        It is not.
    """
    _check_found(Path(folder).is_dir(), key, folder, advice)


def _check_found(is_found: bool, key: str, path: str | Path, advice: str) -> None:
    if not is_found:
        raise PipelineError(f"{key} '{path}' does not exist; {advice}.")


def contents_digest(paths: Iterable[Path]) -> str:
    """Return a digest of the contents of files, in their order."""
    return fingerprint([_sha256_of_state(path, *_state(path)) for path in paths])


def classes_digest(vocabulary: Vocabulary, fields: Sequence[str]) -> str:
    """Return a digest of some fields of every class."""
    return fingerprint([[getattr(each, field) for field in fields] for each in vocabulary.classes])


def _state(path: Path) -> tuple[int, int]:
    """Return size and time stamp, by which a file's checksum is remembered in this process."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


@cache
def _sha256_of_state(path: Path, _size: int, _modified: int) -> str:
    return sha256_of(path)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Put the key before the sentence of an error."""
    try:
        yield
    except PipelineError as error:
        raise PipelineError(f"{key}: {error}") from None


def _check_tables(folder: str) -> None:
    advice = "put the annotation tables there, or set dataset.annotations"
    check_folder("dataset.annotations", folder, advice)
    for table in (*SPLIT_TABLES.values(), *EVENT_TABLES.values()):
        path = Path(folder) / table
        if not path.is_file():
            raise PipelineError(
                f"dataset.annotations '{folder}' has no {table}; put it there, or check the path."
            )
        with _named("dataset.annotations"):
            is_empty = next(read_rows(path, ("filename",)), None) is None
        if is_empty and table in SPLIT_TABLES.values():
            raise PipelineError(
                f"dataset.annotations: '{path}' lists no videos; every split needs some, as parsers"
                " learn from train, choose their epoch on val and are scored on test."
            )


def _check_encoder(key: str, options: EncoderOptions) -> None:
    if not is_fetched(options) and options.random_seed is None:
        with _named(f"{key}.weights"):
            path = options.weights_path
        advice = f"put the file there, or set {key}.url"
        _check_found(path.is_file(), f"{key}.weights", path, advice)
    with _named(f"{key}.model"):
        config = options.config_path
    known = _architectures(options.backend)
    if config is None and known and options.model not in known:
        near = difflib.get_close_matches(options.model, known) or sorted(known)
        raise PipelineError(
            f"{key}.model is '{options.model}', which {options.backend} does not know; it must be a"
            f" name such as {', '.join(near[:5])}."
        )
    with _named(f"{key}.tokenizer"):
        list(options.tokenizer_files)


def is_fetched(options: EncoderOptions) -> bool:
    """Return whether a rule downloads an encoder's weights."""
    return options.url is not None or is_hub_reference(options.weights)


def _architectures(library: str) -> Mapping[str, Path]:
    """Return the architectures that a library knows by name, without importing it.

    There are none for a library that is not installed here or that has no such list.
    """
    spec = importlib.util.find_spec(library) if library in ARCHITECTURES else None
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(spec.submodule_search_locations[0]) / ARCHITECTURES[library]
    return {path.stem: path for path in folder.glob("*.json")}


def _check_frame_size(config: Config) -> None:
    """Check that frames have the size that CLIP's architecture takes."""
    options, size = config.encoders.clip, config.decode.frame_size
    path = options.config_path or _architectures(options.backend).get(options.model)
    if path is None:
        return
    try:
        architecture = json.loads(path.read_text(encoding="utf-8"))
        needed = _image_size(architecture)
    except (AttributeError, TypeError, ValueError, LookupError):
        raise PipelineError(
            f"encoders.clip.model: '{path}' is not a CLIP configuration; it must be JSON of"
            f" {options.backend}'s."
        ) from None
    if size != needed:
        raise PipelineError(
            f"decode.frame_size is {size}, but encoders.clip.model '{options.model}' takes frames"
            f" of {needed} x {needed} pixels; set decode.frame_size: {needed}."
        )


def _image_size(architecture: Mapping[str, Mapping[str, int | Sequence[int]]]) -> int:
    """Return the image size of an architecture of open_clip or transformers."""
    vision = architecture.get("vision_cfg") or architecture.get("vision_config") or {}
    size = vision.get("image_size", DEFAULT_IMAGE_SIZE)
    return size if isinstance(size, int) else size[0]


def _check_teacher(config: Config) -> None:
    stage, trained = config.teacher, config.pseudo_labels.teacher
    if trained is not None and not (Path(trained) / "teacher.safetensors").is_file():
        raise PipelineError(
            f"pseudo_labels.teacher '{trained}' has no teacher.safetensors; train one with"
            " `python -m pipeline teacher`, or configure teacher."
        )
    if stage is None or stage.demo is not None:
        return
    advice = "put UnAV-100's annotations there, or set teacher.annotations"
    path = Path(stage.annotations or "")
    _check_found(path.is_file(), "teacher.annotations", path, advice)
    with _named("teacher.features"):
        for encoder in UNAV_ARCHIVES:
            stage.archive(encoder)
