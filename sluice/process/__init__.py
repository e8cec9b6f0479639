"""What the processes of one server share: slots, the caller who waits, decoding apart, the kernel of products."""
