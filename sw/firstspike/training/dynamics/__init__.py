"""Training of networks whose neurons have dynamics, by surrogate gradients through time."""
