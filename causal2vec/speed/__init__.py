"""The same vectors, faster: packed sequences, prefix caching, attention and layers that fit the device."""
