"""Detection metrics: mAP, confusion matrix, bootstrap intervals."""
