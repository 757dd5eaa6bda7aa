"""Public contracts, fakes and problems for tests."""
