"""Parsers: one module per method, built from shared layers and listed in ``registry``."""
