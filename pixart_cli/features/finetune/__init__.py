"""`pixart train CONFIG.toml`: adapt a model to pictures, a size, a VAE or compressed keys and values."""
