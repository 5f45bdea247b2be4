"""A segkit plugin with a model, a dataset, a loss and a metric."""
