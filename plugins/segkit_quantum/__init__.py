"""Quantum hybrids and their classical twins; PennyLane defines every gate. Nothing is offered here yet."""
