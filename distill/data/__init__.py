"""Reading training data: loader, augmentation, caches."""
