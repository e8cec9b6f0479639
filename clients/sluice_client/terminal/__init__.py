"""The parts that commands are made of: the console, options that several commands share, and their outputs."""
