"""What steps hang on a model: masks and quantisers."""
