"""Losses for binary, multiclass and multilabel masks."""
