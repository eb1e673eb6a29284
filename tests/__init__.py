"""The tests of Iridium."""
