"""The Inspector page: the images that a run kept, one by one."""
