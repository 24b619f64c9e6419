"""What people see of results: progress bars and output."""
