"""For every test."""

import signal

# A shell that runs the tests in the background lets them ignore Ctrl-C, and what they start inherits that:
# the tests that press Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
