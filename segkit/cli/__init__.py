"""The commands: one thin file each; whatever is heavy is imported inside the function."""
