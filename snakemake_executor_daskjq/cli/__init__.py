"""The command `daskjq`."""
