"""Scoring predictions against the ground truth."""
