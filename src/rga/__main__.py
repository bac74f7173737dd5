"""`python -m rga` is `rga`."""

from rga.cli.app import main

if __name__ == "__main__":
    main()
