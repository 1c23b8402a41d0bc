"""The commands of `synthmed-clip`, a module each."""
