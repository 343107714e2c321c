"""Pure operations on masks, what a person changed, and the journal that keeps it."""
