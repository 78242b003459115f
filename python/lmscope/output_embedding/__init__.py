"""What joins a model's head with the analyses of its rows: encoding, steering, removal of dimensions."""
