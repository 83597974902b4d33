"""What is asked of the machine: devices, processors, memory and where things lie."""
