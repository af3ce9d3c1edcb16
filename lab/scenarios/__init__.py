"""Servers that misbehave on purpose, and what a correct phone must do then."""
