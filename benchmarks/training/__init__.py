"""Training side by side with others; see ``__main__``."""
