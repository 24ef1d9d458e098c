"""Reusable pieces of a PyTorch program: data, models, training and evaluation."""
