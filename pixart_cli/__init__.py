"""pixart: a command-line press for posters and wallpapers."""

__version__ = "0.1.0"
