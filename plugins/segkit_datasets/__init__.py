"""Datasets: generated phantoms, public sets in their own layouts, and the user's own folders."""
