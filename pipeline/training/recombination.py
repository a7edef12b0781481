"""MUG's cross-modal recombination (ICCV 2025): the audio of one video with another's pictures.

It needs segment pseudo-labels, which say what each modality of a video shows. The segments of a
recombined video keep the labels of their sources; its weak label is the union of what the
pseudo-labels find in either.

The pairs are drawn once per run, from its seed, not in every epoch: MUG also makes its videos
before training. So statistics of the labels are of the videos that are trained on, a run resumes
exactly, and seeds differ in their pairs too.
Axes: N videos, T segments, C classes.
"""

from dataclasses import fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.core.errors import PipelineError
from pipeline.parsers.interface import ParserInputs, ParserTargets
from pipeline.parsers.losses import any_segment, hardened

Videos = TypeVar("Videos", ParserInputs, ParserTargets)


def recombined(
    inputs: ParserInputs, targets: ParserTargets, share: float, seed: int
) -> tuple[ParserInputs, ParserTargets]:
    """Return the training videos, followed by recombined ones.

    Source: MUG (ICCV 2025), which finds as many recombined as original videos best. differs: MUG
    corrects empty weak labels by hand; here such pairs are not used. Class frequencies stay those
    of the original videos, as the recombined ones are made of the same labels.

    Parameters
    ----------
    inputs, targets
        N training videos with pseudo-labels; soft ones count as present above 0.5.
    share
        Recombined videos as a share of N; 0 returns the videos as they are.
    seed
        Seed of the pairs.

    Raises
    ------
    PipelineError
        No pair has a label.
    """
    count = round(share * len(inputs))
    if not count:
        return inputs, targets
    heard, seen = (any_segment(hardened(labels)) for labels in targets.pseudo)
    audio, visual = draw_pairs(heard.any(dim=1), seen.any(dim=1), count, seed)
    weak = torch.maximum(heard[audio], seen[visual]).to(targets.weak.dtype)
    extended = _extended(targets, audio, visual)
    return _extended(inputs, audio, visual), replace(extended, weak=torch.cat([targets.weak, weak]))


def draw_pairs(heard: Tensor, seen: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw pairs of different videos of which the first's audio or the second's pictures show one.

    Videos are paired in rounds. In each, every video gives its audio to one video and its pictures
    to another, so none is used much more often than others.

    Parameters
    ----------
    heard, seen
        Whether a video's audio or pictures have any label [N], bool.
    count
        Number of pairs.
    seed
        Seed of the rounds.

    Returns
    -------
    tuple[Tensor, Tensor]
        Rows of the audio and of the pictures [count], int64.

    Raises
    ------
    PipelineError
        There is no such pair.
    """
    if len(heard) < 2 or not (heard | seen).any():
        raise PipelineError(
            f"none of the {len(heard)} training videos can be recombined, because pairs need two "
            "videos and a pseudo-label; check the pseudo-labels, or set recombined to 0."
        )
    generator = torch.Generator().manual_seed(seed)
    pairs: list[Tensor] = []
    while sum(len(drawn) for drawn in pairs) < count:
        # A random circle, in which each video hears itself and sees its neighbour.
        audio = torch.randperm(len(heard), generator=generator).to(heard.device)
        visual = audio.roll(1)
        pairs.append(torch.stack([audio, visual], dim=1)[heard[audio] | seen[visual]])
    audio, visual = torch.cat(pairs)[:count].unbind(dim=1)
    return audio, visual


def _extended(videos: Videos, audio: Tensor, visual: Tensor) -> Videos:
    """Return videos followed by pairs of them; what is not audio comes with the pictures."""
    changes = {}
    for field in fields(videos):
        value = getattr(videos, field.name)
        if value is not None and field.name not in videos.shared:
            rows = audio if "audio" in field.name else visual
            changes[field.name] = torch.cat([value, value[rows]])
    return replace(videos, **changes)
