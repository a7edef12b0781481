"""Frozen encoders of 1-second segments and captions: CLIP, CLAP and R(2+1)D."""
