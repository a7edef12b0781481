"""What every room needs: errors, files, shards, the vocabulary, progress, pages."""
