"""Which seeds are trained, and how they share the machine."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from pipeline.core.options import Count, Options, Seed


class TrainingOptions(Options):
    """Seeds of every method, and how many of them one job trains."""

    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(
        [0], description="every method is trained once per seed"
    )
    seeds_at_once: Count | None = Field(
        None,
        description="unset: one job per seed; N: one job for all seeds of a run, N at a time, each"
        " on a GPU or with a share of the CPU threads of its own",
    )
    batch_seeds: bool = Field(
        False,
        description="train the seeds that a process would train in turn as one batched network,"
        " which keeps a GPU busier; needs seeds_at_once",
    )

    @model_validator(mode="after")
    def _check_batch(self) -> Self:
        if self.batch_seeds and self.seeds_at_once is None:
            raise ValueError(
                "batch_seeds is true, but each job trains one seed; set seeds_at_once to the number"
                " of GPUs, such as 1"
            )
        return self

    @field_validator("seeds")
    @classmethod
    def _check_distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds must differ; {seeds} repeats one")
        return seeds
