"""Pixels and geometry: frames, cameras, layouts, detections and what changed on a shelf face."""
