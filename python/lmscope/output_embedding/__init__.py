"""What joins a model's head with the analyses of its embedding."""
