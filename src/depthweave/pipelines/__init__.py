"""Pictures in, typed results out."""
