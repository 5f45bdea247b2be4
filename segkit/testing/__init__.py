"""Public contracts that plugin authors run in their own tests."""
