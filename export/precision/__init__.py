"""Makes graphs of less precision: fp16 and int8, and the record of what each costs."""
