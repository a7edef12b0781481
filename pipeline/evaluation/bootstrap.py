"""Bootstrap confidence intervals over videos."""

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 1000


BOOTSTRAP_SEED = 0


CONFIDENCE = 0.95


Floats = NDArray[np.float64]


def bootstrap_means(
    values: Floats, draws: int = BOOTSTRAP_DRAWS, seed: int = BOOTSTRAP_SEED
) -> Floats:
    """Return the means of values over resamples of videos, with replacement.

    Parameters
    ----------
    values : ``[M, N]``
        M values of each of N videos. The same resamples serve all M, so the values of two methods
        for the same videos may be subtracted before: a paired bootstrap.
    draws, seed
        Number of resamples of N videos, and their seed.

    Returns
    -------
    ndarray ``[draws, M]``
    """
    count = values.shape[1]
    means: Floats = (draw_resamples(count, draws, seed) @ values.T) / count
    return means


def draw_resamples(count: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Return how often each of N videos is drawn ``[draws, N]``."""
    weights: NDArray[np.int64] = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), draws
    )
    return weights


def percentile_interval(means: Floats) -> Floats:
    """Return the 95% interval ``[M, 2]``, low and high, of bootstrap means ``[draws, M]``."""
    tail = (1 - CONFIDENCE) / 2
    ends: Floats = np.quantile(means, (tail, 1 - tail), axis=0).T
    return ends
