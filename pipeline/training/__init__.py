"""Training parsers on cached features, and predicting with them."""
