"""What the API promises: observations (Exchange), requirements, and the judges that hold one to the other."""
