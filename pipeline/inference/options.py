"""How videos are parsed, whatever parses them."""

from typing import Annotated

from pydantic import Field

from pipeline.core.options import RUNTIME
from pipeline.media.options import FolderOptions


class ParseOptions(FolderOptions):
    """Files, windows, threshold and page of parsed videos."""

    overlap: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="seconds that neighbouring windows share; default: half a window, 0 for"
        " zero-shot",
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="probability at or above which a segment counts; default: the method's"
    )
    embed_mb: float = Field(
        24.0,
        ge=0,
        allow_inf_nan=False,
        description="largest video in MB that a page embeds; larger ones are stored beside it",
        json_schema_extra=RUNTIME,
    )
