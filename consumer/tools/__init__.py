"""What people run beside the service: each tool is one module."""
