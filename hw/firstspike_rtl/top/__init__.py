"""Around the core: AXI pins and registers, the host link, loading at power-up, and the Verilog of it all."""
