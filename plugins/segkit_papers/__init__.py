"""Recipes of five papers, with their published tables, as data: one module, and so one plugin, for each paper."""
