"""Drives the controller core: turns what happens into its events, and carries out its instructions."""
