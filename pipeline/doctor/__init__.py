"""Check the machine, and VALOR++'s published numbers on LLP."""
