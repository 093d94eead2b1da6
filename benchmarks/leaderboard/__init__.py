"""Check what the cards of submitted agents claim, and make the leaderboard of what was found."""
