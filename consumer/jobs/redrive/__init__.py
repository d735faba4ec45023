"""Redrive: sends dead letters to their input topics again; also lists and shows them."""
