"""Frozen encoders for segments and captions, and their cached features."""
