"""`python -m pixart_cli` is `pixart`."""

import sys
from typing import NoReturn

from pixart_cli.core.garbage import search_seldom


def main() -> NoReturn:
    """The console script. Ctrl-C while its own parts are still being read ends it without a traceback."""
    search_seldom()
    try:
        from pixart_cli.cli import app
    except KeyboardInterrupt:
        sys.exit(130)
    app.main()


if __name__ == "__main__":
    main()
