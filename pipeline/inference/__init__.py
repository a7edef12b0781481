"""Parse unlabelled videos: windows, predictions, events, tables and a page."""
