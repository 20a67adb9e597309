"""What an nginx access log says about the applications behind it."""
