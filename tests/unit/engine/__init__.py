"""Unit tests of the engine, module by module; what needs a broker is in tests/integration."""
