"""Train parsers on cached features and predict with them."""
