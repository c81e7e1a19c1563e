"""Capacity search: the highest arrival rate at which every objective is met, with its confidence."""
