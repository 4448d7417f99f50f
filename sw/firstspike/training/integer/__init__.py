"""Layers of the integer network in torch, for :mod:`firstspike.training.inference`."""
