"""Quantum hybrids and their classical twins; PennyLane defines every gate."""
