"""CoLeaF (Sardari et al., ECCV 2024)."""

from pydantic import Field

from pipeline.parsers.recipes.han import HanRecipe


class CoLeafRecipe(HanRecipe):
    """CoLeaF (Sardari et al., ECCV 2024, released code)."""

    reference_dropout: float = Field(
        0.5, ge=0, lt=1, description="dropout of the reference networks before their heads"
    )
