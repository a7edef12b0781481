"""Parsing videos that nobody annotated: windows, a method to read them, tables and a page."""
