"""What a search shows while it runs."""
