"""The folder is the registry: one module, one verb. Heavy imports stay inside ``run``."""
