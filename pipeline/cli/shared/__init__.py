"""What several commands have in common, above all arguments."""
