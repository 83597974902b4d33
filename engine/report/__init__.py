"""What leaves the program: tables, samples and charts; torch-free, matplotlib only when drawing."""
