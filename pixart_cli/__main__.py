"""`python -m pixart_cli` is `pixart`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """The console script. Ctrl-C while its own parts are still being read ends it without a traceback."""
    try:
        from pixart_cli.cli import app
    except KeyboardInterrupt:
        sys.exit(130)
    app.main()


if __name__ == "__main__":
    main()
