"""The tests, as a package so that they can share their oracles whatever else is called tests."""
