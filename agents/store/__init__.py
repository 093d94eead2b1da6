"""What an agent remembers: its newest sequences, a store of all that it has seen, and how often it saw them."""
