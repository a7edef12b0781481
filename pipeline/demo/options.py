"""Size and seed of the synthetic corpus."""

from pydantic import Field

from pipeline.core.options import Count, Options, Seed


class DemoOptions(Options):
    """Size and seed of the synthetic corpus."""

    seed: Seed = Field(0, description="the same seed renders the same videos")
    train: Count = Field(240, description="training videos, with weak labels only")
    val: Count = Field(60, description="validation videos")
    test: Count = Field(100, description="test videos")
