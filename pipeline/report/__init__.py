"""The report of a run: result tables, plots with their numbers, and one self-contained page."""
