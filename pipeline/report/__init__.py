"""Report a run: result tables, plots with their data, and one self-contained HTML page."""
