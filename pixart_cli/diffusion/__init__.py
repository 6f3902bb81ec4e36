"""Floor 1: the networks. The only folder about tensors."""
