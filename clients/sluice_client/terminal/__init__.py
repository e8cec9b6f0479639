"""The parts that commands share: console, options, outputs."""
