"""Which released features are imported, and into which arrays; loads no heavy library.

An imported folder has the same place as that of an encoder: ``clip`` holds what a parser sees,
``clap`` what it hears, ``motion`` 3-D features.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.core.files import fingerprint
from pipeline.core.options import Options, PathText
from pipeline.core.references import file_of_repository, is_hub_reference, located
from pipeline.data.archives import array_digest, array_path
from pipeline.data.hub import read_record

# Raise it whenever the same files may be imported as other arrays.
IMPORT_VERSION = 1
# Seconds of a video, and so rows of an array; all released features are of LLP's 10 seconds.
IMPORTED_SEGMENTS = 10
# exp(logit_scale) of CLIP ViT-L/14 (Radford et al., 2021).
CLIP_LOGIT_SCALE = 100.0
# exp(logit_scale) of CLAP. UWAV's code multiplies CLIP's and CLAP's products by the constants
# 4.6052 and 3.2912; the former is ln(100), the logarithm of CLIP's scale, so the latter is taken
# for the logarithm of CLAP's.
CLAP_LOGIT_SCALE = 26.875
# The array that similarities to captions are computed from, where it is not the parser's input.
LABEL_ARRAY = "label_embedding"
# Key of a shard's meta: its arrays whose rows have length 1, separated by commas.
UNIT_ARRAYS = "unit"
# Where each release keeps the arrays of CLIP and CLAP: an archive, or the folder it unpacks to.
VALOR_ARCHIVES = {"clip": "CLIP", "clap": "CLAP"}
UWAV_ARCHIVES = {"clip": "LLP_CLIP", "clap": "LLP_CLAP"}


@dataclass(frozen=True)
class ImportedArray:
    """One array of every video: where it comes from, and where it goes.

    Attributes
    ----------
    kind, key
        The folder (``clip``, ``clap``, ``motion``) and array it is written to.
    archive
        Path of the archive or folder.
    folder
        Folder inside it with ``{id}.npy``, wherever it lies: the last parts of its path.
    shapes
        Accepted shapes of a file.
    is_unit
        Whether its rows are scaled to length 1, as similarities need.
    """

    kind: str
    key: str
    archive: Path
    folder: str
    shapes: tuple[tuple[int, int], ...]
    is_unit: bool = False


class ReleasedFeatures(Options):
    """Features that others released; each a folder with the archives or what they unpack to."""

    valor: PathText | None = Field(
        None,
        description="VALOR's: CLIP.zip and CLAP.zip, or the folders CLIP/ and CLAP/ with features/"
        " and segment_pseudo_labels/; a folder, or hf:datasets/OWNER/NAME",
    )
    uwav: PathText | None = Field(
        None,
        description="UWAV's: LLP_CLIP.zip and LLP_CLAP.zip, or folders of that name with"
        " segment_feats/ and event_feats/; a folder, or hf:datasets/OWNER/NAME",
    )
    han: PathText | None = Field(
        None,
        description="HAN's: the folder of r2plus1d_18/ and, for inputs: classic, vggish/ and"
        " res152/",
    )
    inputs: Literal["clip", "classic"] = Field(
        "clip",
        description="what parsers read: CLAP and CLIP of VALOR or UWAV, or HAN's VGGish and"
        " ResNet-152",
    )
    clap_logit_scale: float = Field(
        CLAP_LOGIT_SCALE,
        gt=0,
        allow_inf_nan=False,
        description="factor on CLAP's cosines for the logits of UWAV's embeddings; default: exp of"
        " the constant 3.2912 in UWAV's code",
    )

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        if not (self.valor or self.uwav):
            raise ValueError(
                "valor or uwav must be set, as pseudo-labels come from them; to train HAN without"
                " them, use `python -m pipeline train --layout han`"
            )
        if self.inputs == "classic" and not self.han:
            raise ValueError("inputs is 'classic', so han must name the folder of HAN's features")
        if self.han and is_hub_reference(self.han):
            raise ValueError(f"han is '{self.han}'; it must be a folder")
        return self

    @property
    def has_texts(self) -> bool:
        """Whether logits can be computed: UWAV released class texts with its embeddings."""
        return self.uwav is not None

    @property
    def has_masked_labels(self) -> bool:
        """Whether masked labels were released with the features."""
        return self.valor is not None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The folders that are written: what parsers see, hear, and 3-D features."""
        return ("clip", "clap", *(["motion"] if self.han else []))

    @property
    def hub_files(self) -> list[str]:
        """References of the archives that are fetched from the Hub."""
        return [
            file_of_repository(source, f"{archive}.zip")
            for source, archives in self._releases
            if is_hub_reference(source)
            for archive in archives.values()
        ]

    def arrays(self) -> list[ImportedArray]:
        """Return the arrays that are imported.

        Raises
        ------
        PipelineError
            An archive or folder is missing.
        """
        arrays: list[ImportedArray] = []
        if self.valor and self.inputs == "clip":
            clip, clap = (array_path(self.valor, name) for name in VALOR_ARCHIVES.values())
            arrays += [
                ImportedArray("clip", "embedding", clip, "features", ((10, 768),)),
                ImportedArray("clap", "map", clap, "features", ((64, 768), (10, 768))),
            ]
        if self.uwav:
            is_input = self.inputs == "clip"
            keys = {
                "clip": "embedding" if is_input and not self.valor else LABEL_ARRAY,
                "clap": "embedding" if is_input else LABEL_ARRAY,
            }
            for (kind, name), size in zip(UWAV_ARCHIVES.items(), (768, 512), strict=True):
                path, shapes = array_path(self.uwav, name), ((10, size),)
                arrays.append(
                    ImportedArray(kind, keys[kind], path, "segment_feats", shapes, is_unit=True)
                )
        if self.han:
            wanted: dict[str, tuple[str, tuple[int, int]]] = {"motion": ("r2plus1d_18", (10, 512))}
            if self.inputs == "classic":
                wanted |= {"clip": ("res152", (80, 2048)), "clap": ("vggish", (10, 128))}
            for kind, (name, shape) in wanted.items():
                path = array_path(self.han, name)
                arrays.append(ImportedArray(kind, "embedding", path, "", (shape,)))
        return arrays

    def masked_labels(self) -> dict[str, Path]:
        """Return the archive or folder of each modality's released labels; empty without VALOR's.

        Raises
        ------
        PipelineError
            An archive or folder is missing.
        """
        if not self.valor:
            return {}
        kinds = {"audio": "clap", "visual": "clip"}
        return {
            modality: array_path(self.valor, VALOR_ARCHIVES[kind])
            for modality, kind in kinds.items()
        }

    def texts(self) -> dict[str, Path]:
        """Return the archive or folder of the class texts of CLIP and CLAP; empty without UWAV's.

        Raises
        ------
        PipelineError
            An archive or folder is missing.
        """
        if not self.uwav:
            return {}
        return {kind: array_path(self.uwav, name) for kind, name in UWAV_ARCHIVES.items()}

    def fingerprints(self) -> dict[str, str]:
        """Return the 10 hex digits that name each folder; also before anything is fetched.

        A file of the Hub counts by its reference, to which the commit and the checksum are pinned
        when it is fetched; another archive or folder by ``array_digest``.

        Raises
        ------
        PipelineError
            An archive or folder is missing.
        """
        arrays = self.arrays()
        identities = {path: self._identity(path) for path in {array.archive for array in arrays}}
        return {
            kind: fingerprint(
                {
                    "imported": IMPORT_VERSION,
                    "kind": kind,
                    "arrays": [
                        [array.key, array.folder, identities[array.archive]]
                        for array in arrays
                        if array.kind == kind
                    ],
                }
            )
            for kind in self.kinds
        }

    def digest(self) -> str:
        """Return a digest of everything that an import reads.

        Raises
        ------
        PipelineError
            An archive or folder is missing.
        """
        return fingerprint([IMPORT_VERSION, *sorted(map(self._identity, self._paths()))])

    def origins(self) -> dict[str, str]:
        """Return what every archive or folder is, by its path, see ``origin_of``.

        Raises
        ------
        PipelineError
            An archive or folder is missing.
        """
        return {str(path): origin_of(path) for path in sorted(self._paths())}

    @property
    def _releases(self) -> list[tuple[str, Mapping[str, str]]]:
        releases = ((self.valor, VALOR_ARCHIVES), (self.uwav, UWAV_ARCHIVES))
        return [(source, archives) for source, archives in releases if source]

    def _paths(self) -> set[Path]:
        paths = {array.archive for array in self.arrays()}
        return paths | {*self.masked_labels().values(), *self.texts().values()}

    def _identity(self, path: Path) -> str:
        for reference in self.hub_files:
            if Path(located(reference)) == path:
                return reference
        return array_digest(path)


def origin_of(path: Path) -> str:
    """Return what an archive is: its name, or the commit and checksum it was fetched with."""
    record = read_record(path)
    if record is None:
        return path.name
    return f"{record.repository}/{record.file} at {record.commit}, sha256 {record.sha256}"


def similarity_array(keys: Collection[str]) -> str:
    """Return which of a folder's arrays similarities to captions are computed from."""
    return LABEL_ARRAY if LABEL_ARRAY in keys else "embedding"
