"""Frozen encoders of 1-second segments and of captions: CLIP for frames, CLAP for sound."""
