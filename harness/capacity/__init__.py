"""The highest arrival rate at which every objective still holds, and how sure that is."""
