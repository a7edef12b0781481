"""The losses of the papers, and the targets they compare with.

Axes: B batch, N videos, T segments, C classes. Every loss is a scalar, averaged over all elements.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.parsers.recipes.base import SOFT_LABEL_TEMPERATURE

# Probabilities are clamped to this distance from 0 and 1 before a cross-entropy, as in the released
# code of HAN and VALOR; MMIL's g can also exceed 1.
PROBABILITY_MARGIN = 1e-7

# LINK eq. 11: cosines up to this value have weight 1.
REWEIGHTING_EDGE = -0.2

# LEAP's released code adds this to its target σ(log q).
LEAP_OFFSET = 0.01
LEAP_EMPTY = 1e-8


def video_bce(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of probabilities: HAN eq. 6, L_video of VALOR and LINK eq. 7.

    Parameters
    ----------
    probabilities
        Any shape; clamped to [1e-7, 1 - 1e-7].
    labels
        Same shape, in [0, 1].
    """
    return element_bce(probabilities, labels).mean()


def element_bce(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of every probability; see ``video_bce``."""
    clamped = clamped_probabilities(probabilities)
    # Not torch's own: on NaN it raises an error that does not name the loss term.
    return -(labels * clamped.log() + (1 - labels) * (1 - clamped).log())


def clamped_probabilities(probabilities: Tensor) -> Tensor:
    """Return probabilities clamped to [1e-7, 1 - 1e-7]."""
    return probabilities.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)


def segment_bce(
    logits: Tensor,
    labels: Tensor,
    positive_weight: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the binary cross-entropy of segment logits and pseudo-labels; LINK eq. 8.

    differs: eq. 8 prints a sum over t; this is the mean over B, T and C, as in VALOR's code. The
    recipe's ``segment_weight`` can turn it into the sum.

    Parameters
    ----------
    logits, labels
        [B, T, C]; labels may be soft, in [0, 1].
    positive_weight
        Factor of ``y log p`` per class [C], see ``rarity_weights``; None means 1.
    weights
        Factor of each element [B, 1, C], see ``balance_weights``; None means 1. Its dtype, float64,
        becomes the loss's.
    """
    if weights is None:
        return functional.binary_cross_entropy_with_logits(
            logits, labels, pos_weight=positive_weight
        )
    elements = functional.binary_cross_entropy_with_logits(
        logits, labels, reduction="none", pos_weight=positive_weight
    )
    return (weights * elements).mean()


def class_frequencies(labels: Tensor) -> Tensor:
    """Return the share of segments with each class, float64 [C] in [0, 1].

    UWAV's f^m, the average number of events in a segment, is their sum. Its code computes it in
    float64, so the segment losses that it weights are float64 too.

    Parameters
    ----------
    labels
        Masked pseudo-labels of all training videos [N, T, C]; soft ones count as binary.
    """
    return hardened(labels).double().mean(dim=(0, 1))


def balance_weights(weak: Tensor, frequencies: Tensor, strength: float) -> Tensor:
    """Return UWAV's weight of each segment loss, float64 [B, 1, C].

    ``W·(C - f)`` for the classes of the weak label and ``f`` for the others, with f the average
    number of events in a segment. With W = 0.5, C = 25 and f = 1 these are 12 and 1. The weak label
    decides, also for segments without the event. Source: UWAV (Lai et al., CVPR 2025), released
    code. differs: eqs. 18-19 of its paper divide both by C, which would make the segment losses 25
    times weaker next to the other terms.

    Parameters
    ----------
    weak
        Weak labels [B, C] in {0, 1}.
    frequencies
        ``class_frequencies`` of the training videos.
    strength
        W.
    """
    events = frequencies.sum()
    weights = torch.where(weak > 0, strength * (len(frequencies) - events), events)
    return weights[:, None]


def rarity_weights(frequencies: Tensor, power: float) -> Tensor:
    """Return the weight of each class's positive segments, ``(negatives / positives)^power``.

    A reading of our own: it goes from no weighting (0) to positives that weigh as much as negatives
    (1).

    Parameters
    ----------
    frequencies
        ``class_frequencies`` of the training videos.
    power
        In [0, 1].

    Returns
    -------
    Tensor
        [C]; 1 for a class without positives.
    """
    ratio = (1 - frequencies) / torch.where(frequencies > 0, frequencies, 1 - frequencies)
    return ratio**power


@dataclass(frozen=True)
class Mixture:
    """What mix-up pairs with what.

    Attributes
    ----------
    share
        λ in (0, 1), the part of each segment itself.
    partners
        The segment that each of M segments is mixed with, a permutation [M] (int64).
    """

    share: float
    partners: Tensor


def draw_mixture(segments: int, concentration: float, device: torch.device) -> Mixture:
    """Draw ``λ ~ Beta(α, α)``, then a permutation of M segments, with torch's CPU generator.

    Source: UWAV (Lai et al., CVPR 2025), released code: one draw per batch and modality.
    """
    alpha = torch.tensor(concentration, dtype=torch.float64)
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    return Mixture(share, torch.randperm(segments).to(device))


def mixup_bce(logits: Tensor, labels: Tensor, mixture: Mixture) -> Tensor:
    """Return UWAV's mix-up loss, ``λ·BCE(Z̃, y) + (1 - λ)·BCE(Z̃, y')``.

    UWAV mixes the encoder's segment features, ``λ·h + (1 - λ)·h'``, and classifies the mixtures.
    Its classifier is one linear layer, so the logits of mixtures are the mixtures of logits:
    ``Z̃ = λ·Z + (1 - λ)·Z'``.

    Parameters
    ----------
    logits, labels
        [B, T, C]; labels may be soft. Segments of all videos are mixed with one another.
    mixture
        For B·T segments.
    """
    logits, labels = logits.flatten(0, 1), labels.flatten(0, 1)
    share, partners = mixture.share, mixture.partners
    mixed = share * logits + (1 - share) * logits[partners]
    own = functional.binary_cross_entropy_with_logits(mixed, labels)
    other = functional.binary_cross_entropy_with_logits(mixed, labels[partners])
    return share * own + (1 - share) * other


def smoothed(labels: Tensor, certainty: float) -> Tensor:
    """Return labels smoothed towards 0.5: ``y·s + (1 - s)/2`` with certainty s.

    HAN's code uses 1.0 for audio and 0.9 for visual labels.
    """
    return labels * certainty + (1 - certainty) / 2


def any_segment(labels: Tensor) -> Tensor:
    """Return video labels of one modality ``Y^m = max_t ŷ^m`` [B, C] from its segments [B, T, C].

    These are the targets of LINK's L_label (eq. 10) and LEAP's video loss. Soft labels give the
    value of the most certain segment.
    """
    return labels.amax(dim=1)


def hardened(labels: Tensor) -> Tensor:
    """Return labels in {0, 1} from soft labels σ((logit - threshold)/2) in [0, 1], cut at 0.5.

    Counting shared events needs hard labels: the product of two equal soft labels l is only l².
    """
    return (labels > 0.5).to(labels.dtype)


def with_temperature(labels: Tensor, temperature: float) -> Tensor:
    """Return soft labels ``σ(x/d)`` for a temperature d from cached ones, which have UWAV's, 2.

    ``p = σ(x/2)`` gives ``σ(x/d) = p^k / (p^k + (1 - p)^k)`` with ``k = 2/d``.
    """
    if temperature == SOFT_LABEL_TEMPERATURE:
        return labels
    exponent = SOFT_LABEL_TEMPERATURE / temperature
    present, absent = labels**exponent, (1 - labels) ** exponent
    return present / (present + absent)


def either(audio: Tensor, visual: Tensor) -> Tensor:
    """Return the probability that a class is in either modality, assuming independence."""
    return 1 - (1 - audio) * (1 - visual)


def cosine_pairs(audio: Tensor, visual: Tensor) -> Tensor:
    """Return the cosine ``s_ij`` of audio segment i and visual segment j [B, T, T]."""
    return functional.normalize(audio, dim=-1) @ functional.normalize(visual, dim=-1).mT


def event_iou(audio: Tensor, visual: Tensor) -> Tensor:
    """Return the IoU ``r_ij`` of the events in audio segment i and visual segment j [B, T, T].

    It is 0 if neither segment has an event. LINK eq. 10; also the text of LEAP (Zhou et al.,
    ECCV 2024). Labels are [B, T, C] in {0, 1}.
    """
    shared = audio @ visual.mT
    union = audio.sum(-1)[:, :, None] + visual.sum(-1)[:, None, :] - shared
    return shared / union.clamp(min=1)


def leap_target(audio: Tensor, visual: Tensor) -> Tensor:
    """Return the target of LEAP's code, ``q/(1+q) + 0.01``, where q is shared events over K.

    K is the largest number of simultaneous events in the video. Labels are [B, T, C] in {0, 1}.
    """
    most = torch.maximum(audio.sum(-1), visual.sum(-1)).amax(-1).clamp(min=LEAP_EMPTY)
    ratio = (audio @ visual.mT) / most[:, None, None]
    return ratio / (1 + ratio) + LEAP_OFFSET


def similarity_pairs(
    features: tuple[Tensor, Tensor],
    labels: tuple[Tensor, Tensor],
    target: Literal["iou", "leap"],
) -> tuple[Tensor, Tensor]:
    """Return the similarity of all segment pairs that L_avss compares: of features and of events.

    Parameters
    ----------
    features
        Audio and visual features [B, T, d].
    labels
        Audio and visual labels [B, T, C] in {0, 1}.
    target
        ``iou``: cosine and event IoU, as LEAP and LINK (eq. 10) print it. ``leap``: as in LEAP's
        code, whose target has another scale and which cuts negative cosines (ReLU).

    Returns
    -------
    tuple
        Two tensors [B, T, T].
    """
    cosine = cosine_pairs(*features)
    if target == "leap":
        return cosine.relu(), leap_target(*labels)
    return cosine, event_iou(*labels)


def reweighting(cosine: Tensor, mu: Tensor) -> Tensor:
    """Return λ(s) of LINK eq. 11 for every cosine; no gradient flows through s.

    With ``E = e^|1-μ|``: 1 for s <= -0.2, E on (-0.2, 0), ``E + (1 - E)·s`` for s >= 0.
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
    """Return L_avss of LINK (eqs. 10-12): the squared error of cosines, re-weighted by λ.

    Parameters
    ----------
    cosine, target
        s and r [B, T, T].
    mu
        Trained scalar of eq. 11.
    reading
        Where λ applies: to every ``pair``, to every ``video`` (by its mean cosine), or nowhere
        (``none``, LEAP).
    """
    error = (cosine - target).square()
    if reading == "none":
        return error.mean()
    if reading == "video":
        return (reweighting(cosine.mean(dim=(1, 2)), mu) * error.mean(dim=(1, 2))).mean()
    return (reweighting(cosine, mu) * error).mean()


def segment_nce(
    queries: Tensor,
    keys: Tensor,
    temperature: float = 0.2,
    smoothing: float = 0.1,
    video_weights: Tensor | None = None,
) -> Tensor:
    """Return the contrastive loss that pairs segments of two streams by their time.

    With ``S = softmax_j(cos(q_i, k_j) / temperature)`` over the segments of the same video, a
    segment costs ``-log((1 - s)·S_ii + s/(T - 1)·Σ_{j≠i} S_ij)`` with smoothing s: it is smoothed
    inside the logarithm. Source: MA (Wu and Yang, CVPR 2021), whose code JoMoLD, CMPAE, CoLeaF and
    NREP share.

    Parameters
    ----------
    queries, keys
        Segment features of two streams [B, T, d], such as audio and visual.
    temperature, smoothing
        The constants of the released code.
    video_weights
        Factor of each video [B] (CoLeaF); None means 1.
    """
    similarity = (cosine_pairs(queries, keys) / temperature).softmax(dim=-1)
    same = similarity.diagonal(dim1=1, dim2=2)
    others = similarity.sum(dim=-1) - same
    mixed = (1 - smoothing) * same + smoothing / max(1, queries.shape[1] - 1) * others
    loss = -mixed.log()
    return loss.mean() if video_weights is None else (video_weights[:, None] * loss).mean()
