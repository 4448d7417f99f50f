"""Rules that a run is held to: results value by value, bus protocols clock by clock."""
