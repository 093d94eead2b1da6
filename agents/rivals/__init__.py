"""The field's agents beside the paper's: REINVENT, Augmented Hill-Climb, trajectory balance, PPO with a KL penalty."""
