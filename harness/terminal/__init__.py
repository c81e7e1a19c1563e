"""What a person at a terminal sees while a test goes on, and what a program gets instead."""
