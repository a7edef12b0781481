"""Pseudo-labels from a trained temporal label network (UWAV; Lai et al., CVPR 2025).

A teacher's logits of LLP's videos are cut at one threshold per class and modality, which is chosen
on dense validation labels. So its labels rest on two supervisions that weakly supervised methods do
not have: the dense labels that the teacher was trained on, and LLP's dense validation labels.
Axes: N videos, T segments, C classes, D embedding.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.core.arrays import number_problem
from pipeline.core.errors import PipelineError
from pipeline.core.files import atomic_path, existing_file
from pipeline.core.shards import TEACHER_FILE
from pipeline.core.wording import first_line
from pipeline.labels.teacher_options import TeacherOptions
from pipeline.labels.temporal import TemporalNetwork

TEACHER_HEADER = "teacher"
# Largest dimension of an embedding that a file may state.
LARGEST_DIMENSION = 65_536
# Videos per batch; inference needs little memory, so this affects speed only.
LABELLING_BATCH = 256


class TeacherRecord(BaseModel):
    """A teacher without its weights: the header of its file.

    Attributes
    ----------
    options, seed
        How it was trained.
    audio, visual
        Dimensions of the embeddings.
    classes
        Classes of the dataset that it was trained on.
    epoch, score
        The selected epoch and its segment-level F1 of heard-and-seen events on that dataset's
        validation videos, in percent.
    fingerprints
        Fingerprints of the features that it was trained on, ``clip`` and ``clap``; empty if others
        released them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: TeacherOptions
    seed: int
    audio: int = Field(ge=1, le=LARGEST_DIMENSION)
    visual: int = Field(ge=1, le=LARGEST_DIMENSION)
    classes: tuple[str, ...]
    epoch: int
    score: float = Field(allow_inf_nan=False)
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class Teacher:
    """A trained temporal label network: what it is, and its weights by name."""

    record: TeacherRecord
    weights: Mapping[str, Tensor]

    def build(self) -> TemporalNetwork:
        """Return the trained network in evaluation mode."""
        network = TemporalNetwork(self.record.audio, self.record.visual, self.record.options)
        network.load_state_dict(dict(self.weights))
        return network.eval()

    def check_features(self, fingerprints: Mapping[str, str], sizes: tuple[int, int]) -> None:
        """Check that embeddings are from the encoders that the teacher was trained with.

        Parameters
        ----------
        fingerprints
            Fingerprints of the features of ``clip`` and ``clap``; without those of features that
            others released, which are compared by size only.
        sizes
            Dimensions of audio and visual embeddings.

        Raises
        ------
        PipelineError
            A size or a fingerprint differs.
        """
        trained_on = self.record.fingerprints
        if sizes != (self.record.audio, self.record.visual):
            raise PipelineError(
                f"the teacher was trained on CLAP and CLIP embeddings of {self.record.audio} and"
                f" {self.record.visual} dimensions, but these have {sizes[0]} and {sizes[1]}; use"
                " the same encoders, or train a teacher on these."
            )
        for kind in sorted(trained_on.keys() & fingerprints.keys()):
            if fingerprints[kind] != trained_on[kind]:
                raise PipelineError(
                    f"the teacher was trained on {kind} features '{trained_on[kind]}', but got"
                    f" '{fingerprints[kind]}'; use the same encoders, or train a teacher on these."
                )


def write_teacher(folder: Path, teacher: Teacher) -> None:
    """Write ``teacher.safetensors`` into a folder, atomically."""
    header = json.dumps(teacher.record.model_dump(mode="json"), sort_keys=True)
    weights = {name: weight.contiguous() for name, weight in teacher.weights.items()}
    with atomic_path(folder / TEACHER_FILE) as temporary:
        save_file(weights, temporary, {TEACHER_HEADER: header})


def read_teacher(folder: Path) -> Teacher:
    """Read a folder's ``teacher.safetensors``.

    Raises
    ------
    PipelineError
        The file is missing, truncated or not a teacher.
    """
    path = existing_file(folder / TEACHER_FILE, "a teacher")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {})[TEACHER_HEADER]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not all(weight.isfinite().all() for weight in weights.values()):
            raise ValueError("a weight is not finite")
        teacher = Teacher(TeacherRecord.model_validate_json(header), weights)
        teacher.build()
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        first = first_line(error)
        raise PipelineError(f"'{path}' is not a teacher ({first}); train it again.") from None
    return teacher


def teacher_logits(
    teacher: Teacher,
    embeddings: tuple[NDArray[Any], NDArray[Any]],
    texts: tuple[NDArray[Any], NDArray[Any]],
    device: torch.device,
) -> NDArray[np.float32]:
    """Return a teacher's logits of videos, ``[2, N, T, C]``, audio first.

    Parameters
    ----------
    teacher
        The trained network.
    embeddings
        L2-normalised CLAP and CLIP embeddings ``[N, T, D]``.
    texts
        L2-normalised class texts of both ``[C, D]``; any classes.
    device
        Where it runs.

    Raises
    ------
    PipelineError
        A logit is not finite.
    """
    network = teacher.build().to(device)
    audio_texts, visual_texts = (torch.from_numpy(each).float().to(device) for each in texts)
    logits = []
    with torch.inference_mode():
        for start in range(0, len(embeddings[0]), LABELLING_BATCH):
            rows = slice(start, start + LABELLING_BATCH)
            audio, visual = (torch.from_numpy(each[rows]).float().to(device) for each in embeddings)
            of_batch = network((audio, visual), (audio_texts, visual_texts))
            logits.append(torch.stack(of_batch).cpu().numpy())
    joined: NDArray[np.float32] = np.concatenate(logits, axis=1)
    if problem := number_problem(joined):
        raise PipelineError(
            f"the teacher {problem} among its logits: its weights are too large for these"
            " embeddings; train it again with a lower learning_rate."
        )
    return joined
