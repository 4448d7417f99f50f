"""cocotb benches of a generated core, and what runs them."""
