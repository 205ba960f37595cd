"""The people that invocations concern: keyed hashes of subjects, and jobs that forget everything about one."""
