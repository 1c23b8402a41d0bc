"""Copies of our generators, and augmentations, each with one fault seeded."""
