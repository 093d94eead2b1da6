"""The demonstration: fine-tune shipped priors with Psi-learning, evaluate before and after, write what came of it."""
