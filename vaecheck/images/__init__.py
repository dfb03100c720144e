"""Where pictures come from: a source on disk -> 8-bit RGB, at the size and fit asked for, in batches."""
