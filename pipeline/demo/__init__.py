"""Built-in demo: a small synthetic version of LLP, and small CLIP and CLAP encoders for it."""

# Increase whenever the same script may render differently.
CORPUS_VERSION = 2
