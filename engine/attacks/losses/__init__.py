"""What attacks climb."""
