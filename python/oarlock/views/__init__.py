"""Views: how work is addressed to engines."""
