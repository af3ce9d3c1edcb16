"""The emulated phone: what it holds, in which order it asks, what it believes."""
