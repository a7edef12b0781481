"""Compare methods: the leaderboard, its page and its plots."""
