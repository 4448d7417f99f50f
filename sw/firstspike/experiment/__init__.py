"""What a user asks for: the experiment file, and the data sets it names."""
