"""The commands, one module each: ``Options`` has the types of its keys, ``main`` runs it."""
