"""Pure data that all other parts share. Every amount carries its unit in its name."""
