"""Work with stable-baselines3: its interface for our agents, and KL penalty and prior weights for its own agents."""
