"""What sets up the environment and the learner's folder, and checks them; `make` runs these."""
