"""The format, entropy coding, tiles, Python interface and command line."""
