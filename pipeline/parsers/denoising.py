"""Label denoising of JoMoLD (Cheng et al., ECCV 2022), which CMPAE and CoLeaF use as well.

A weak label holds of a video, not of each of its modalities: of a video labelled Speech, the
speaker may never be seen. JoMoLD estimates, per class and modality, the share of weak labels that
are wrong (its noise ratio), and removes in every batch as many labels as the ratios say, from those
videos that fit their label well in one modality and badly in the other.
Axes: B batch, N videos, C classes; modalities: 0 audio, 1 visual.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from pipeline.parsers.interface import Output, ParserInputs, ParserNetwork, ParserTargets
from pipeline.parsers.losses import element_bce, smoothed
from pipeline.parsers.recipes import DenoisingRecipe


class DenoisedNetwork(ParserNetwork[Output]):
    """Base class of the networks that train on denoised labels.

    They have a pass without cross-modal attention, in which each modality speaks for itself.
    """

    def __init__(self, recipe: DenoisingRecipe) -> None:
        super().__init__()
        self.certainties = (recipe.audio_certainty, recipe.visual_certainty)

    @abstractmethod
    def forward(self, inputs: ParserInputs, crosses: bool = True) -> Output:
        """Run the network on a batch of B videos, with or without cross-modal attention."""

    @abstractmethod
    def label_terms(self, output: Output, weak: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss with weak labels [B, C] and labels of audio and visual [B, 2, C]."""

    def loss_terms(self, output: Output, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the loss with all labels, none removed."""
        return self.label_terms(output, targets.weak, self.labels(targets.weak))

    def labels(self, weak: Tensor) -> Tensor:
        """Return smoothed labels [B, 2, C]; labels are weak [B, C], or of modalities [B, 2, C]."""
        pairs = zip(of_both(weak).unbind(dim=1), self.certainties, strict=True)
        return torch.stack([smoothed(labels, certainty) for labels, certainty in pairs], dim=1)


def of_both(weak: Tensor) -> Tensor:
    """Return the labels of both modalities [B, 2, C]: weak labels [B, C] hold of both."""
    return weak if weak.ndim == 3 else weak[:, None].expand(-1, 2, -1)


def noise_ratios(
    probabilities: Tensor,
    weak: Tensor,
    thresholds: tuple[float, float],
    certainties: tuple[float, float],
) -> Tensor:
    """Return the share of each class's weak labels that are wrong in a modality [2, C], float64.

    A label counts as wrong if ``p·ȳ / mean p`` is below the modality's threshold: the probability
    times the smoothed label, relative to the mean over all videos, labelled or not. A class without
    labels has ratio 0. differs: the released code takes the mean of batch means, so that videos of
    the last, smaller batch count more.

    Parameters
    ----------
    probabilities
        Video-level probabilities p^a, p^v of all training videos [N, 2, C].
    weak
        Weak labels [N, C] in {0, 1}, or labels of each modality [N, 2, C].
    thresholds, certainties
        Threshold, and certainty s of the smoothed label (1 + s)/2, of audio and visual.
    """
    probabilities = probabilities.double()
    positives = (of_both(weak) > 0.5).unbind(dim=1)
    shares = []
    for modality, (threshold, certainty) in enumerate(zip(thresholds, certainties, strict=True)):
        of_modality, positive = probabilities[:, modality], positives[modality]
        relative = of_modality * ((1 + certainty) / 2) / of_modality.mean(dim=0)
        wrong = (relative < threshold) & positive
        shares.append(wrong.sum(dim=0).double() / positive.sum(dim=0).clamp(min=1).double())
    return torch.stack(shares)


def removed_labels(losses: Tensor, weak: Tensor, ratios: Tensor) -> Tensor:
    """Return which labels of a batch to remove, [B, 2, C] bool.

    With n videos labelled c, ``k = int(ratio·n)``. A label of modality m is removed if it is among
    the k largest losses of m and the k smallest of the other modality, within the class.

    Parameters
    ----------
    losses
        Cross-entropy of p^a, p^v with the labels before any removal [B, 2, C].
    weak
        Weak labels [B, C] in {0, 1}, or labels of each modality [B, 2, C].
    ratios
        Noise ratios [2, C] in float64: 0.29·100 is just below 29, so that 28 labels are removed.
    """
    removed = []
    for modality, positive in enumerate((of_both(weak) > 0.5).unbind(dim=1)):
        count = positive.sum(dim=0)
        number = (ratios[modality] * count.double()).long()
        # Rank of each loss among the labelled videos of its class, from 0; others come after them.
        ordered = losses.masked_fill(~positive[:, None], torch.inf).argsort(dim=0, stable=True)
        ranks = ordered.argsort(dim=0)
        is_largest = ranks[:, modality] >= count - number
        is_smallest = ranks[:, 1 - modality] < number
        removed.append(is_largest & is_smallest & positive)
    return torch.stack(removed, dim=1)


def denoised_labels(probabilities: Tensor, labels: Tensor, weak: Tensor, ratios: Tensor) -> Tensor:
    """Return labels [B, 2, C] with 0 in place of those removed.

    Parameters
    ----------
    probabilities
        Video-level probabilities p^a, p^v [B, 2, C].
    labels
        Labels of audio and visual [B, 2, C], smoothed or not.
    weak, ratios
        See ``removed_labels``.
    """
    removed = removed_labels(element_bce(probabilities, labels), weak, ratios)
    return labels.masked_fill(removed, 0.0)
