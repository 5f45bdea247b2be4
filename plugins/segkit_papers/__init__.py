"""Recipes and published tables of the papers, as TOML. Nothing is offered here yet."""
