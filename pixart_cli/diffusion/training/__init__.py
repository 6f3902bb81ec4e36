"""How a transformer of PixArt's family learns: loss, batches, adaptation, checkpoints, the loop."""
