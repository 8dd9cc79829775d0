"""What people say about a search while it runs or sleeps: reviews, and the server that takes them."""
