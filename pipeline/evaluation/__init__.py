"""How well predicted events agree with annotated ones: the published metrics."""
