"""The embedded demo: a small synthetic LLP, and the small encoders that look at it and listen."""
