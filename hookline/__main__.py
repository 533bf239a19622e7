"""`python -m hookline`: the command line, where its script is not on the path."""

from hookline.cli import main

if __name__ == "__main__":
    main()
