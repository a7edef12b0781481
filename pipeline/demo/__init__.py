"""The embedded demo: a small synthetic LLP, and the small encoders that look at it and listen."""

# Raised whenever the same script may look or sound different.
CORPUS_VERSION = 2
