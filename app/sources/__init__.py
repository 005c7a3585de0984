"""Readers: a folder or a file becomes rows, one pair each, or sentences about what was refused."""
