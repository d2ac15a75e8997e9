"""Folders of exported models: written whole or not at all, checked before they are run, and described for people."""
