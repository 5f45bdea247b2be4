"""From what was asked to what will be done: defaults, run.toml, recipes, flags and -o."""
