"""A study as a folder that one can hand over: tables, figures, pictures, keys, and words."""
