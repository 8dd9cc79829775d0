"""What a task folder and a reward must be, read as text: nothing of either is ever imported here."""
