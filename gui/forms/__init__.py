"""Forms made from the parameter models of the catalogue."""
