"""Words in, words out: no torch at import, no maths."""
