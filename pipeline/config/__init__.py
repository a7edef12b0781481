"""The configuration: its models, presets, and how a run's configuration is put together."""
