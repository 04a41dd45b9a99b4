"""Sweeps: several trainings that differ in some options, in the folders of one directory."""
