"""Shared building blocks: errors, files, shards, the class vocabulary, progress and HTML."""
