"""What sets up the environment and checks it; `make` runs these."""
