"""Spikes and what they leave behind, the spread across seeds, layers that break formation, three phases."""
