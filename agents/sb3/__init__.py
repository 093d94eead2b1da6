"""stable-baselines3's surface of our agents, and the prior as a guide for stable-baselines3's own."""
