"""What a conversation meant: an analyzer behind a protocol, and the rules that need no model."""
