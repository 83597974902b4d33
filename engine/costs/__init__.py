"""What a variant costs: bytes, MACs, time, and whether integers predict the same."""
