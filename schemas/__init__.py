"""What crosses a boundary: identifiers, events, topics and their encoding. Nothing here does I/O or reads a clock."""
