"""Known faults of VAEs: one probe a file, each with a measurement made for its fault.

A probe watches the pictures' one walk through the VAE, as a metric does, and then gives one Finding; it may send
synthetic cards, or a few of the pictures, through the VAE again. `catalogue` lists the probes, `causes` tells a fault
from what follows from it.
"""
