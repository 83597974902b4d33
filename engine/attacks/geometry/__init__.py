"""Where examples may lie: balls, boxes, hyperplanes and the closest example."""
