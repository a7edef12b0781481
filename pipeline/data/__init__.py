"""Datasets: annotation tables, the video manifest, and downloads."""
