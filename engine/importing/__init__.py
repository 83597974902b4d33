"""Other people's checkpoints: read safely, recognised, examined, put into the model library."""
