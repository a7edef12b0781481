"""CoLeaF (Sardari et al., ECCV 2024): its anchor, and what the anchor learns from two references.

CoLeaF trains CMPAE's network, the anchor, which mixes the modalities, together with two reference
networks that see one modality each (``coleaf_references``). References learn from denoised labels
and from the anchor; the anchor learns relations between classes and segment features from the
references. Only the anchor parses videos. ``coleaf_plan`` has the training steps.
Axes: B batch, C classes; stacked modalities: 0 audio, 1 visual.
"""

from torch import Tensor

from pipeline.parsers.evidence import EvidenceNetwork

# A reference probability at or above this counts as an event (CoLeaF's code).
REFERENCE_PRESENT = 0.5


class CoLeaf(EvidenceNetwork):
    """CoLeaF's anchor: the network of CMPAE, see ``evidence`` for its parts and their names.

    differs: the released class also builds two sets of class tokens, two LayerNorms and a block
    that are never used (303 129 parameters with 25 classes); they are left out.
    """


def agreed_labels(labels: Tensor, probabilities: Tensor, threshold: float) -> Tensor:
    """Return labels [B, C] where the anchor agrees (p >= threshold), and 0 elsewhere."""
    return (probabilities >= threshold).to(labels.dtype) * labels


def cross_class_target(
    probabilities: Tensor, reference: Tensor, labels: Tensor, certain: tuple[float, float]
) -> Tensor:
    """Return the anchor's probabilities, replaced by the reference's where that one is certain.

    ``t = m p_ref + (1 - m) p``, where m is the label of certain classes and 0 elsewhere. Smoothed
    visual labels make m 0.95 for positives and 0.05 for negatives. There is no gradient.

    Parameters
    ----------
    probabilities, reference, labels
        The anchor's p, the reference's p_ref and the denoised labels [B, C].
    certain
        A reference is certain at or below the first value and at or above the second.
    """
    low, high = certain
    share = ((reference <= low) | (reference >= high)).to(labels.dtype) * labels
    return (share * reference + (1 - share) * probabilities).detach()


def cross_class_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return the distance of two relations between classes, ``Σ (p pᵀ - t tᵀ)² / C``.

    ``p pᵀ`` [C, C] is the outer product of one video's probabilities; the sum is over videos and
    pairs of classes. Source: CoLeaF's code, which also multiplies by B, see ``CoLeafRecipe``.
    """
    relations = (each[:, :, None] * each[:, None, :] for each in (probabilities, target))
    own, wanted = relations
    return (own - wanted).square().sum() / probabilities.shape[1]


def exclusive_shares(audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
    """Return each video's share of classes that only one modality has, ``w_a`` and ``w_v`` [B].

    ``w_a`` is the number of classes heard and not seen over the number of classes heard, 0 if
    nothing is heard; ``w_v`` likewise.

    Parameters
    ----------
    audio, visual
        The references' probabilities [B, C]; a class is present from 0.5.
    """
    # Counted in the dtype of the inputs: integers would divide to float32.
    heard, seen = ((each >= REFERENCE_PRESENT).to(audio.dtype) for each in (audio, visual))
    both = (heard * seen).sum(dim=1)
    counts = heard.sum(dim=1), seen.sum(dim=1)
    heard_only, seen_only = ((count - both) / count.clamp(min=1) for count in counts)
    return heard_only, seen_only
