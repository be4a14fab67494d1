"""`python -m dctcodec` is the command line."""

from .codec.cli import main

if __name__ == "__main__":
    main()
