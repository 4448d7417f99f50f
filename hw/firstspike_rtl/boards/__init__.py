"""From Verilog to a bitstream: tools, devices, boards, and projects for Vivado."""
