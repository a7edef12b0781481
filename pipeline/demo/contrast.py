"""Contrastive training of pictures or sounds against class captions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from pipeline.core.progress import track

WEIGHT_DECAY = 0.02
WARM_UP = 0.15  # share of the steps
LARGEST_GRADIENT = 1.0
AVERAGED = 50  # number of last steps in the reported mean loss


@dataclass(frozen=True)
class Schedule:
    """Training schedule of an encoder.

    Attributes
    ----------
    examples
        Number of pictures or sounds.
    steps, batch
        Optimisation steps, and batch size.
    rate
        Maximum learning rate (AdamW, one cycle).
    """

    examples: int
    steps: int
    batch: int
    rate: float


@dataclass(frozen=True)
class Pairs:
    """An embedded batch.

    Attributes
    ----------
    inputs : ``[B, D]``
        Embeddings of pictures or sounds.
    text : ``[C, D]``
        Embeddings of the captions.
    names : ``[B, C]``
        Caption probabilities of the inputs; rows sum to 1, or to 0 for inputs without a caption.
    log_scale
        Logarithm of the scale of the cosines.
    """

    inputs: torch.Tensor
    text: torch.Tensor
    names: torch.Tensor
    log_scale: torch.Tensor


def contrast(pairs: Pairs) -> torch.Tensor:
    """Return CLIP's symmetric loss (Radford et al., ICML 2021), adapted to repeated captions.

    Every input is matched with its captions among the C, and every caption in the batch with its
    inputs among the B. For inputs without a caption the target is uniform over captions.
    """
    inputs, text = (functional.normalize(rows, dim=-1) for rows in (pairs.inputs, pairs.text))
    logits = pairs.log_scale.exp() * inputs @ text.T
    unnamed = pairs.names.sum(dim=1, keepdim=True) == 0
    captions = pairs.names + unnamed / pairs.names.shape[1]
    found = -(captions * logits.log_softmax(dim=1)).sum(dim=1).mean()
    present = pairs.names.sum(dim=0) > 0
    shares = pairs.names[:, present] / pairs.names[:, present].sum(dim=0)
    finding = -(shares * logits[:, present].log_softmax(dim=0)).sum(dim=0).mean()
    return (found + finding) / 2


def fit(
    model: torch.nn.Module,
    step: Callable[[torch.Generator], Pairs],
    schedule: Schedule,
    seed: int,
    label: str,
) -> float:
    """Train a model on batches embedded by ``step``; return the mean loss of the last steps."""
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, schedule.rate, weight_decay=WEIGHT_DECAY)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.rate, schedule.steps, pct_start=WARM_UP
    )
    random = torch.Generator().manual_seed(seed)
    losses = []
    model.train()
    for _ in track(range(schedule.steps), schedule.steps, label, "steps"):
        loss = contrast(step(random))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        optimiser.step()
        cycle.step()
        losses.append(float(loss.detach()))
    model.eval()
    last = losses[-AVERAGED:]
    return sum(last) / len(last)
