"""The commands, one module each: ``Options`` defines the types of the keys, ``main`` runs the command."""
