"""How listed videos without predictions are scored."""

from typing import Literal

from pydantic import Field

from pipeline.core.options import Options

MissingPolicy = Literal["error", "report", "empty"]


class CoverageOptions(Options):
    """What happens to listed videos that were not parsed."""

    missing: MissingPolicy = Field(
        "error",
        description="listed videos that --predicted-videos lacks: error: refuse to score; report:"
        " score only the parsed videos and state how many; empty: score the missing videos as"
        " having no predicted events",
    )
