"""What the user asks for: studies, datasets and whether they fit together; torch-free."""
