"""One reader a format: from a file to a `Table`."""
