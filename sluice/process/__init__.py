"""The parts that all processes of one server share: slots, waiting callers, decoding apart, the kernel of products."""
