"""Unit tests of the pipeline, module by module."""
