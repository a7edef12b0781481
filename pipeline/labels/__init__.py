"""Segment pseudo-labels from the similarity of segments and class captions."""
