"""Downloads: everything that needs a network, into caches that later jobs read without one."""
