"""The core itself: from pixels or events to a class, one component a file."""
