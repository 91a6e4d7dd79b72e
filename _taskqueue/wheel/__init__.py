"""What the wheel adds around the face: the command's entry point and the marker for type checkers."""
