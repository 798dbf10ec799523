"""Network backends: how a guest reaches 169.254.169.254."""
