"""Bootstrap confidence intervals over videos."""

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 1000
BOOTSTRAP_SEED = 0
CONFIDENCE = 0.95

Floats = NDArray[np.float64]


def bootstrap_means(values: Floats) -> Floats:
    """Return the means over B resamples of videos, drawn with replacement.

    Parameters
    ----------
    values : ``[M, N]``
        M values of each of N videos. All M use the same resamples, so differences between two
        methods on the same videos give a paired bootstrap.

    Returns
    -------
    ndarray ``[B, M]``
    """
    count = values.shape[1]
    resamples = draw_resamples(count, BOOTSTRAP_DRAWS, BOOTSTRAP_SEED)
    means: Floats = (resamples @ values.T) / count
    return means


def draw_resamples(count: int, draws: int, seed: int | np.random.Generator) -> NDArray[np.int64]:
    """Return how often each resample draws each of ``count`` items, ``[draws, count]``."""
    weights: NDArray[np.int64] = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), draws
    )
    return weights


def percentile_interval(means: Floats) -> Floats:
    """Return the 95% interval ``[M, 2]``, low and high, of bootstrap means ``[B, M]``."""
    tail = (1 - CONFIDENCE) / 2
    ends: Floats = np.quantile(means, (tail, 1 - tail), axis=0).T
    return ends
