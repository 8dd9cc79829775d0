"""Where rewards are measured: jobs for boxes, and what comes back as values."""
