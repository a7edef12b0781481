"""LLP's metrics: agreement of predicted with annotated events."""
