"""Floor 0: what a picture is. Free of torch, typer and rich."""
