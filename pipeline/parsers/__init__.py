"""The parsers: one module per method over shared layers; ``registry`` names them."""
