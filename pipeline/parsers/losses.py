"""Each loss of the papers by name.

Axes: B videos, T segments, C classes. Every loss is a scalar; means are over all elements.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

# Probabilities that enter a cross-entropy are kept this far from 0 and 1, as in the released code
# of HAN, VALOR and their followers; MMIL's g can also exceed 1.
PROBABILITY_MARGIN = 1e-7

# LINK eq. 11: where the re-weighting of negative cosines begins.
REWEIGHTING_EDGE = -0.2

# LEAP's released code adds this to its target σ(log q).
LEAP_OFFSET = 0.01
LEAP_EMPTY = 1e-8


def video_bce(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of probabilities; HAN eq. 6, VALOR's and LINK's L_video (LINK eq. 7).

    Parameters
    ----------
    probabilities
        Any shape; values outside [1e-7, 1 - 1e-7] are clamped.
    labels
        Same shape, in [0, 1].
    """
    clamped = probabilities.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    # Written out: torch's own stops at a NaN with a message that does not name the loss.
    return -(labels * clamped.log() + (1 - labels) * (1 - clamped).log()).mean()


def segment_bce(logits: Tensor, labels: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of segment logits [B, T, C] with pseudo-labels; LINK eq. 8.

    differs: eq. 8 prints a sum over t; the mean over B, T and C is what VALOR's code does
    (``segment_weight`` of a recipe makes it the sum).

    Parameters
    ----------
    logits, labels
        Labels may be soft, in [0, 1].
    positive_weight
        What multiplies ``y log p`` of each class [C], see ``class_balance``; None is 1.
    """
    return functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=positive_weight)


def class_balance(labels: Tensor, strength: float) -> Tensor:
    """Return the weight of each class's positive segments, ``(negatives / positives)^strength``.

    A class's positives are rare (1-2 % of LLP's segments), so the loss of "absent everywhere" is
    small; UWAV (Lai et al., CVPR 2025) re-weights with W = 0.5. differs: the form is our reading,
    a power that leads from no weight (0) to positives that weigh as much as negatives (1).

    Parameters
    ----------
    labels
        Pseudo-labels of all training videos [N, T, C], in [0, 1].
    strength
        W, in [0, 1].

    Returns
    -------
    Tensor
        [C]; 1 for a class without positives.
    """
    total = len(labels) * labels.shape[1]
    positives = labels.sum(dim=(0, 1))
    ratio = (total - positives) / torch.where(positives > 0, positives, total - positives)
    return ratio**strength


def smoothed(labels: Tensor, certainty: float) -> Tensor:
    """Return labels moved towards one half: ``y·s + (1 - s)/2``.

    HAN's code: certainty 1.0 for audio and 0.9 for visual labels.
    """
    return labels * certainty + (1 - certainty) / 2


def any_segment(labels: Tensor) -> Tensor:
    """Return uni-modal video labels ``Y^m = max_t ŷ^m`` [B, C] of segment labels [B, T, C].

    The targets of LINK's L_label (eq. 10) and of LEAP's video loss; of soft labels, the surest
    segment's.
    """
    return labels.amax(dim=1)


def hardened(labels: Tensor) -> Tensor:
    """Return labels in {0, 1} of labels in [0, 1]: soft ones, σ(logit - threshold), cut at 0.5.

    What counts shared events needs it: of two equal soft labels ``l`` the product is only ``l²``.
    """
    return (labels > 0.5).to(labels.dtype)


def either(audio: Tensor, visual: Tensor) -> Tensor:
    """Return the probability of a class in either modality, were they independent."""
    return 1 - (1 - audio) * (1 - visual)


def cosine_pairs(audio: Tensor, visual: Tensor) -> Tensor:
    """Return ``s_ij``, the cosine of audio segment i and visual segment j [B, T, T]."""
    return functional.normalize(audio, dim=-1) @ functional.normalize(visual, dim=-1).mT


def event_iou(audio: Tensor, visual: Tensor) -> Tensor:
    """Return ``r_ij``: shared events over all events of segments i and j [B, T, T]; 0 when none.

    LINK eq. 10 and LEAP's text (Zhou et al., ECCV 2024). Labels [B, T, C] in {0, 1}.
    """
    shared = audio @ visual.mT
    union = audio.sum(-1)[:, :, None] + visual.sum(-1)[:, None, :] - shared
    return shared / union.clamp(min=1)


def leap_target(audio: Tensor, visual: Tensor) -> Tensor:
    """Return the target of LEAP's code: ``q/(1+q) + 0.01`` with q the shared events over K.

    K is the largest number of simultaneous events in the video. Labels [B, T, C] in {0, 1}.
    """
    most = torch.maximum(audio.sum(-1), visual.sum(-1)).amax(-1).clamp(min=LEAP_EMPTY)
    ratio = (audio @ visual.mT) / most[:, None, None]
    return ratio / (1 + ratio) + LEAP_OFFSET


def reweighting(cosine: Tensor, mu: Tensor) -> Tensor:
    """Return λ(s) of LINK eq. 11, element by element; no gradient flows through s.

    With ``E = e^|1-μ|``: 1 for s <= -0.2, E on (-0.2, 0), ``E + (1 - E)·s`` from 0 on.
    """
    cosine = cosine.detach()
    peak = torch.exp((1 - mu).abs())
    falling = peak + (1 - peak) * cosine.clamp(min=0)
    return torch.where(cosine <= REWEIGHTING_EDGE, torch.ones_like(falling), falling)


def similarity_loss(
    cosine: Tensor,
    target: Tensor,
    mu: Tensor,
    reading: Literal["pair", "video", "none"] = "pair",
) -> Tensor:
    """L_avss of LINK, eqs. 10-12: squared error of cosines, re-weighted by λ.

    Parameters
    ----------
    cosine, target
        s and r [B, T, T].
    mu
        Trained scalar of eq. 11.
    reading
        Where λ acts: on every ``pair``; on a ``video``, by its mean cosine; or nowhere (LEAP).
    """
    error = (cosine - target).square()
    if reading == "none":
        return error.mean()
    if reading == "video":
        return (reweighting(cosine.mean(dim=(1, 2)), mu) * error.mean(dim=(1, 2))).mean()
    return (reweighting(cosine, mu) * error).mean()
