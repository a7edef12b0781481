"""Segment pseudo-labels, from similarity to class captions or from a trained teacher."""
