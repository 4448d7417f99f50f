"""The ways into the core: words become events of the input population."""
