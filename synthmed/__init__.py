"""Synthetic anomalies for medical images."""
