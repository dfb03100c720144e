"""One file per command: a plain function in, a frozen result out."""
