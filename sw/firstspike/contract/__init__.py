"""What hardware and software agree on.

Here: shapes and widths, every memory, the register map, words on the wires, memory images.
"""
