"""Parts of the filter benchmark."""
