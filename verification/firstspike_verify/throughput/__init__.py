"""What ``make bench`` measures: clocks an image, images a second, speed of training."""
