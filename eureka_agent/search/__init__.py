"""What the loop's steps do: who is asked for, who goes on, who leads, and when it is over."""
