"""Tests, laid out as the package is. A package itself, because a dependency installs another one of this name."""
