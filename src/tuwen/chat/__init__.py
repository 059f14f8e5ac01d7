"""Conversations: messages, their templates, the one renderer, boxes in text. Needs no torch."""
