"""From labelled cases to a new model."""
