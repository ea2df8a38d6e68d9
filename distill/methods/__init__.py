"""Distillation methods: one module for each; the module name is the method name."""
