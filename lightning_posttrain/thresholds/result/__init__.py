"""Results of this wing: frozen, on the CPU, with figures for curves and plain data for JSON."""
