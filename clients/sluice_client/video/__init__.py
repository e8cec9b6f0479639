"""Videos in and out, by PyAV."""
