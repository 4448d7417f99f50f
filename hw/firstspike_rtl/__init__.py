"""firstspike_rtl: Amaranth components of the TTFS core, and the Verilog made from them."""
