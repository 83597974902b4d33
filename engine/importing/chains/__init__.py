"""Plain chains of layers: what their shapes tell, and what is tried on images."""
