"""Speed of vaecheck, measured against what it cannot do without and against the plain script."""
