"""Random runs and random damage, against an uninterrupted run and against TRL: `make fuzz`."""
