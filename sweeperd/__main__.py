"""Run the command line with ``python -m sweeperd``."""

from sweeperd.cli.main import main

if __name__ == "__main__":
    main()
