"""Audio-visual video parsing, from raw videos to parsed events.

Every stage is a plain function in the module of its noun, reached the same way from
``python -m pipeline STAGE``, from the Snakemake rules and from the tests. Nothing in this
package knows of Snakemake.
"""

__version__ = "0.1.0"
