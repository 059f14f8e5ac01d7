"""The web page: a conversation with one model, or with two side by side."""
