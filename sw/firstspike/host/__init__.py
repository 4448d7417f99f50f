"""The computer beside the core: frames of the host link, a board at a serial port, a core on an AXI bus."""
