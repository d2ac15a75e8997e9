"""Thin Lightning shells: what is needed, what it amounts to, what is shown. One final class a file."""
