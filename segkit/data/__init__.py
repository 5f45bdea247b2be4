"""From files to arrays: reading, pairing, splitting, preprocessing, caching."""
