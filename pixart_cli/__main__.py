"""`python -m pixart_cli` is `pixart`."""

from pixart_cli.cli.app import main

if __name__ == "__main__":
    main()
