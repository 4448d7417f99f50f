"""Clocks of every image, computed without simulation; and lanes chosen by them."""
