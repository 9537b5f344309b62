"""Recipes, compose files and command lines of others → model files."""
