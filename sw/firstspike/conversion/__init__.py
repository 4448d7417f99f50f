"""From a trained ReLU network to the same integers (T2FSNN), without PyTorch."""
