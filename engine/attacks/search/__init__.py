"""What all attacks share: state, step loop, verdicts and the curve."""
