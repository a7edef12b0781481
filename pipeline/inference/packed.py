"""A parser as one folder that can be moved and published: checkpoint, settings, model card."""

import itertools
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.core.errors import PipelineError
from pipeline.core.files import (
    atomic_path,
    existing_file,
    license_path,
    sha256_of,
    write_text,
)
from pipeline.core.html import environment
from pipeline.core.reading import read_json
from pipeline.core.references import (
    PACKAGE_PREFIX,
    is_hub_reference,
    parse_hub_reference,
)
from pipeline.core.vocabulary import display_name
from pipeline.data.hub import fetch_hub_file, fetch_snapshot
from pipeline.evaluation.metrics import LEVELS, METRICS
from pipeline.features.encoders.identity import encoder_notice, encoder_text
from pipeline.features.encoders.options import EncoderOptions, tokenizer_files
from pipeline.inference.predictors import checkpoint_of
from pipeline.inference.settings import (
    SETTINGS_FILE,
    InferenceSettings,
    find_settings,
    read_settings,
)
from pipeline.parsers.checkpoint import FILE, Checkpoint
from pipeline.parsers.model_folders import model_folder
from pipeline.parsers.registry import THRESHOLDS_FILE, method_named

logger = logging.getLogger(__name__)

CARD_FILE = "README.md"
LICENSE_FILE = "LICENSE"
METRICS_FILE = "metrics.json"
ENCODERS_FOLDER = "encoders"
# What a parser's repository on the Hub is asked for.
PARSER_FILES = (FILE, THRESHOLDS_FILE, SETTINGS_FILE, f"{ENCODERS_FOLDER}/**")
# Keys of an encoder's settings that name files.
PATH_KEYS = ("model", "weights", "tokenizer")
CARD_COLUMNS = {
    "audio": "Audio",
    "visual": "Visual",
    "audio_visual": "Audio-visual",
    "type": "Type@AV",
    "event": "Event@AV",
}
# What a folder of a model or tokenizer may hold besides the weights.
MODEL_FILES = ("config.json", "preprocessor_config.json")


def parser_folder(source: str | Path) -> Path:
    """Return a parser's folder; a repository on the Hub is downloaded first.

    Raises
    ------
    PipelineError
        The folder has no checkpoint, or the repository cannot be downloaded.
    """
    folder = Path(source)
    if is_hub_reference(str(source)):
        reference = parse_hub_reference(str(source))
        if reference.file:
            raise PipelineError(
                f"'{source}' is a part of a repository, but a parser is a whole one; write"
                f" '{replace(reference, file='')}'."
            )
        folder = fetch_snapshot(reference, PARSER_FILES)
    folder = model_folder(folder)
    existing_file(folder / FILE, "a checkpoint")
    return folder


def read_parser_settings(folder: Path, path: Path | None = None) -> InferenceSettings:
    """Return the settings of a parser, with the encoders' files where they are.

    A relative path is looked up in the folder of ``parsing.json``, in the working directory, and
    in the folder of the run that wrote it, in this order.

    Parameters
    ----------
    folder
        The parser's folder.
    path
        The settings' file, if it is neither in the folder nor in its run.
    """
    path = path or find_settings(folder)
    home = path.absolute().parent
    return _with_paths(read_settings(path), [home, Path.cwd(), home.parent])


def fetch_encoders(settings: InferenceSettings) -> None:
    """Download the encoders' files from the Hub, and check that all others exist.

    Raises
    ------
    PipelineError
        A file is missing, or cannot be downloaded.
    """
    for name, encoder in settings.specs.items():
        for text in encoder.hub_files:
            reference = parse_hub_reference(text)
            fetch_hub_file(reference, reference.path)
        for key in PATH_KEYS:
            value = getattr(encoder, key)
            is_name = key == "model" and "/" not in value and not value.endswith(".json")
            if not _is_path(encoder, key) or is_name or Path(value).exists():
                continue
            sha256 = encoder.sha256 if key == "weights" else None
            raise PipelineError(
                f"the {key} of {name}{f' (sha256 {sha256})' if sha256 else ''} must be at"
                f" '{value}', but nothing is there; put it there, or name a configuration whose"
                " encoders are here."
            )


@dataclass(frozen=True)
class EncoderFile:
    """A file that an encoder needs and that is not part of the package.

    Attributes
    ----------
    encoder
        ``clip`` or ``clap``.
    path
        Where it is looked up, relative to the packed folder.
    sha256
        Its checksum.
    copied
        Whether the packed folder contains it.
    """

    encoder: str
    path: str
    sha256: str
    copied: bool


def pack_parser(
    source: Path,
    out: Path,
    *,
    settings_path: Path | None = None,
    with_encoders: bool = False,
    dataset: str | None = None,
) -> list[EncoderFile]:
    """Write a trained parser as one folder: checkpoint, settings, model card and licence.

    Parameters
    ----------
    source
        Folder of a training run.
    out
        Folder to write.
    settings_path
        ``parsing.json``, if it is neither in ``source`` nor in its run.
    with_encoders
        Copy the encoders' files too. Otherwise the card lists them with their checksums.
    dataset
        Name of the dataset that the metrics are of, for the card.

    Returns
    -------
    list
        The encoders' files that are not part of the package.

    Raises
    ------
    PipelineError
        The checkpoint and the settings do not fit, or a file is missing or cannot be written.
    """
    _check_free(out)
    source = model_folder(source)
    settings = read_parser_settings(source, settings_path)
    checkpoint = checkpoint_of(source, settings)
    original = read_settings(settings_path or find_settings(source))
    packed, copies = _packed_settings(original, settings, with_encoders)
    needed = list(_encoder_files(packed, settings, set(copies)))
    card = model_card(checkpoint, packed, needed, _metrics(source), dataset)
    files = copies | {FILE: source / FILE, LICENSE_FILE: license_path()}
    (out / THRESHOLDS_FILE).unlink(missing_ok=True)
    if (source / THRESHOLDS_FILE).is_file():
        files[THRESHOLDS_FILE] = source / THRESHOLDS_FILE
    for target, origin in files.items():
        with atomic_path(out / target) as temporary:
            shutil.copyfile(origin, temporary)
    write_text(out / SETTINGS_FILE, packed.model_dump_json(indent=1) + "\n")
    write_text(out / CARD_FILE, card)
    return needed


def _check_free(out: Path) -> None:
    """Check that packing replaces no files but those of a packed parser."""
    existing = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if existing and not existing >= {FILE, SETTINGS_FILE, CARD_FILE}:
        raise PipelineError(
            f"'{out}' has files, such as '{min(existing)}', and is no packed parser; choose a new"
            " folder."
        )
    if existing:
        logger.warning("replacing the packed parser in '%s'", out)


def model_card(
    checkpoint: Checkpoint,
    settings: InferenceSettings,
    needed: list[EncoderFile],
    metrics: Mapping[str, Any] | None,
    dataset: str | None,
) -> str:
    """Return a model card in the Hub's format: YAML front matter, then Markdown."""
    method = method_named(checkpoint.method).display_name
    scores = metrics["test"]["metrics"] if metrics else None
    context = {
        "method": method,
        "checkpoint": checkpoint,
        "settings": settings,
        "encoders": {name: encoder_text(each) for name, each in settings.identities.items()},
        "notice": encoder_notice(settings.identities),
        "needed": needed,
        "scores": scores,
        "videos": metrics["test"]["videos"] if metrics else None,
        "dataset": dataset or "the test split of its training run",
        "levels": LEVELS,
        "metrics": METRICS,
        "titles": CARD_COLUMNS,
        "classes": [display_name(name) for name in checkpoint.classes],
        "version": __version__,
    }
    return (
        environment(Path(__file__).parent, autoescape=False)
        .get_template("card.md.j2")
        .render(context)
    )


def _metrics(source: Path) -> Mapping[str, Any] | None:
    """Return the metrics beside a checkpoint, if it was scored on a test split."""
    path = source / METRICS_FILE
    if not path.is_file():
        return None
    remedy = "move it away, or evaluate the parser again"
    metrics: dict[str, Any] = read_json(path, "the evaluation", remedy)
    try:
        int(metrics["test"]["videos"])
        for level, metric in itertools.product(LEVELS, METRICS):
            float(metrics["test"]["metrics"][level][metric])
    except (ValueError, KeyError, TypeError):
        raise PipelineError(
            f"'{path}' is not the evaluation of a trained parser; {remedy}."
        ) from None
    return metrics


def _packed_settings(
    original: InferenceSettings, found: InferenceSettings, with_encoders: bool
) -> tuple[InferenceSettings, dict[str, Path]]:
    """Return settings without absolute paths, and which files to copy where.

    ``found`` has the same settings with the paths of the files on this machine.
    """
    copies: dict[str, Path] = {}
    changes: dict[str, dict[str, str]] = {}
    for name, encoder in original.specs.items():
        changes[name] = {}
        for key, path in _paths(found.specs[name]):
            value = getattr(encoder, key)
            target = f"{ENCODERS_FOLDER}/{name}/{Path(value).name}"
            if with_encoders:
                copies |= _copies(target, path, key)
            if with_encoders or Path(value).is_absolute():
                changes[name][key] = target
    return _with_encoders(original, changes), copies


def _encoder_files(
    packed: InferenceSettings, found: InferenceSettings, copied: set[str]
) -> Iterator[EncoderFile]:
    for name, encoder in packed.specs.items():
        for key, path in _paths(found.specs[name]):
            for target, file in _copies(getattr(encoder, key), path, key).items():
                sha256 = encoder.sha256 if key == "weights" else None
                if sha256 and target in copied and sha256_of(file) != sha256:
                    raise PipelineError(
                        f"the weights '{file}' do not have the sha256 {sha256} of the run's; put"
                        " the run's file there, or pack without the encoders."
                    )
                yield EncoderFile(name, target, sha256 or sha256_of(file), target in copied)


def _copies(target: str, path: Path, key: str) -> dict[str, Path]:
    """Return the files of one encoder setting, by their place in the packed folder."""
    if not path.is_dir():
        return {target: existing_file(path, "an encoder's file")}
    files = [path / name for name in MODEL_FILES if (path / name).is_file()]
    tokenizers = [path / name for name in ("tokenizer.json", "vocab.json")]
    if key == "tokenizer" or any(file.is_file() for file in tokenizers):
        files += tokenizer_files(path)
    return {f"{target}/{file.name}": file for file in files}


def _paths(encoder: EncoderOptions) -> Iterator[tuple[str, Path]]:
    """Yield the settings of an encoder that name files on this machine, and where these are."""
    for key in PATH_KEYS:
        if _is_path(encoder, key):
            path = Path(getattr(encoder, key))
            if key != "model" or path.exists():  # else a name that the backend knows
                yield key, path


def _with_paths(settings: InferenceSettings, folders: list[Path]) -> InferenceSettings:
    """Return settings whose relative paths are replaced by the files they name."""
    changes: dict[str, dict[str, str]] = {}
    for name, encoder in settings.specs.items():
        changes[name] = {}
        for key in PATH_KEYS:
            if not _is_path(encoder, key) or Path(getattr(encoder, key)).is_absolute():
                continue
            places = [folder / getattr(encoder, key) for folder in folders]
            found = next((place for place in places if place.exists()), None)
            if found:
                changes[name][key] = str(found)
    return _with_encoders(settings, changes)


def _with_encoders(
    settings: InferenceSettings, changes: Mapping[str, Mapping[str, str]]
) -> InferenceSettings:
    """Return settings with some values of their encoders changed."""
    encoders = {
        name: settings.specs[name].model_copy(update=dict(change))
        for name, change in changes.items()
    }
    return settings.model_copy(update={"encoders": settings.encoders.model_copy(update=encoders)})


def _is_path(encoder: EncoderOptions, key: str) -> bool:
    """Return whether a setting of an encoder can be a path on this machine."""
    value = getattr(encoder, key)
    is_random = key == "weights" and encoder.random_seed is not None
    return (
        bool(value)
        and not is_random
        and not (value.startswith(PACKAGE_PREFIX) or is_hub_reference(value))
    )
