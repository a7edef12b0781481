"""What a dataset is: annotation tables, the manifest of its videos, and getting both."""
