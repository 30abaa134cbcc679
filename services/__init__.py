"""The two services; neither imports the other, and each owns its database."""
