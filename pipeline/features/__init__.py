"""Frozen encoders over segments and captions, and the cached features they leave."""
