"""Many pictures from a prompt list: never lost, never drawn twice, on whatever engine draws them."""
