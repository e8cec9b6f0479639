"""The tensors and JSON that cross the server, in both directions, checked before they cost anything."""
