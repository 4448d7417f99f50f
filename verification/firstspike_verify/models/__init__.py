"""What stands in for a chip: the Verilated core, the core behind its host link, the synthesised netlist."""
