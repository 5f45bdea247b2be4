"""Files in, files out: what segkit predict does."""
