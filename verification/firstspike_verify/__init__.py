"""firstspike_verify: the Verilated core as a Python object, drivers, monitors and the scoreboard."""
